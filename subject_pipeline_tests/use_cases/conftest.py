from collections.abc import Callable
from pathlib import Path

import pytest

from subject_pipeline.domain import staging as staging_rules

ManyGroups = Callable[[int], None]


@pytest.fixture
def many_groups(monkeypatch: pytest.MonkeyPatch) -> ManyGroups:
    """Lets a few rows make several chunk groups, as hundreds of thousands would."""

    def rows_per_group(rows: int) -> None:
        monkeypatch.setattr(staging_rules, "ROWS_PER_GROUP", rows)

    return rows_per_group


def listing(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: files with their bytes, folders with None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
