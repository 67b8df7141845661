"""`constraints.txt`: the versions that `make` installs, written by `make constraints`."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def bounds() -> list[Requirement]:
    """What `pyproject.toml` asks for: the package's own, every extra's, and every group's."""
    said: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [
        said["project"]["dependencies"],
        *said["project"]["optional-dependencies"].values(),
        *said["dependency-groups"].values(),
    ]
    return [Requirement(one) for each in lists for one in each if isinstance(one, str)]


@pytest.mark.parametrize("bound", bounds(), ids=str)
def test_what_is_installed_is_within_the_bounds(bound: Requirement) -> None:
    """Each bound has a pinned version, and every version pinned for it, on whatever Python, satisfies it."""
    pinned = [one for one in map(Requirement, LINES) if canonicalize_name(one.name) == canonicalize_name(bound.name)]
    assert pinned, f"{bound.name} is not in constraints.txt: run make constraints"
    for one in pinned:
        (version,) = (specifier.version for specifier in one.specifier)
        assert bound.specifier.contains(version), f"{one} is outside {bound}: run make constraints"


def test_every_line_pins_one_version_from_no_particular_place() -> None:
    """Neither a registry's address nor an option of pip or uv is in it: anyone who installs says from where."""
    for line in LINES:
        assert re.fullmatch(r"[a-z0-9.-]+==[0-9a-z.]+( ; .+)?", line), line
        assert "//" not in line
