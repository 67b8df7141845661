import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("README.md"),
        *ROOT.glob("CONTRIBUTING.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs").glob("gate/*.md"),
    ]
)
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"`([a-z_]+/(?:[a-z_]+/)*(?:[a-z_]+\.(?:py|yaml))?|[a-z_]+\.py)`")
LONGEST_README = 150


def _prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", _prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in LINK.findall(_prose(page)):
            if "://" not in link and not link.startswith("mailto:"):
                yield page, link


def test_every_link_of_a_page_leads_somewhere() -> None:
    """Files and folders are there, and so are the headings that a link names."""
    dead = []
    for page, link in _links():
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append((page.name, link))
    assert dead == []


def test_the_index_lists_every_page() -> None:
    """Nobody finds a page that is not listed."""
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert pages - {"README.md"} <= listed


@pytest.mark.parametrize("path", sorted(set(MODULE.findall(_prose(ROOT / "docs" / "architecture.md")))))
def test_every_module_that_the_architecture_names_exists(path: str) -> None:
    """A path below the package or its tests, or one of these two."""
    assert any((ROOT / folder / path).exists() for folder in ("", "subject_pipeline", "subject_pipeline_tests"))


def test_the_architecture_has_the_stages_in_the_linters_order() -> None:
    """Each folder and file at the top of the package is in the table, from the bottom to the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    order = [set(re.findall(r"subject_pipeline\.(\w+)", layer)) for layer in reversed(layers)]
    table = _prose(ROOT / "docs" / "architecture.md").partition("\n## The stages\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, flags=re.MULTILINE)
    assert [set(re.findall(r"`(\w+)(?:/|\.py)`", row)) for row in rows] == order
    stages = (ROOT / "subject_pipeline").iterdir()  # what is left of a folder that moved is none
    top = {one.stem for one in stages if one.suffix == ".py" or (one / "__init__.py").is_file()}
    assert top - {"__init__"} == set.union(*order)


def test_the_readme_is_short() -> None:
    """What is needed later is in docs/."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < LONGEST_README
