"""Finds the Dagster project that a folder lies in, as `dg` does; reads no YAML, and imports little."""

import tomllib
from pathlib import Path
from typing import Any

_CONFIGURATIONS = (("pyproject.toml", ("tool", "dg", "project")), ("dg.toml", ("project",)))


def project_around(folder: Path) -> tuple[Path, Path] | None:
    """The nearest project's folder at or above this one, and that of its definitions; None: there is none."""
    return next(
        ((place, defs) for place in (folder, *folder.parents) if (defs := _defs_folder(place)) is not None), None
    )


def _defs_folder(project: Path) -> Path | None:
    for name, path in _CONFIGURATIONS:
        try:
            table: Any = tomllib.loads((project / name).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        for part in path:
            table = table.get(part, {}) if isinstance(table, dict) else {}
        if not isinstance(table, dict) or "root_module" not in table:
            continue
        module = str(table.get("defs_module") or f"{table['root_module']}.defs")
        for sources in (project / "src", project):
            if (found := sources.joinpath(*module.split("."))).is_dir():
                return found
    return None
