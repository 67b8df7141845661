import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
LINK = re.compile(r"!\[([^\]]*)\]\((?:docs/)?images/([^)]+)\)")
LARGEST = 200_000


def test_every_picture_is_there_small_shown_and_described() -> None:
    """Each picture that a page shows is there with a description, and none lies there that no page shows."""
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    shown = [found for page in pages for found in LINK.findall(page.read_text(encoding="utf-8"))]
    there = {file.name for file in (DOCS / "images").iterdir()}
    assert {name for _, name in shown} == there
    assert [name for description, name in shown if len(description) < 10] == []
    assert [name for name in there if (DOCS / "images" / name).stat().st_size > LARGEST] == []
