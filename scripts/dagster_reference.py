"""Writes docs/dagster_reference.md: what the Dagster UI has, from the definitions themselves.

python scripts/dagster_reference.py           writes it
python scripts/dagster_reference.py --check   exit status 1 if it is not what the definitions say
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg

from subject_pipeline.definitions import defs

PAGE = Path(__file__).parent.parent / "docs" / "dagster_reference.md"
_HEAD = """# Dagster: everything there is

What the UI shows of this project with its sample dataset `workers`; each dataset has such assets, a job and a sensor.
Written by `make reference` from the definitions; a test keeps it current.
"""


def reference() -> str:
    """The page."""
    definitions = defs()
    repository = definitions.get_repository_def()
    return "\n".join([
        _HEAD,
        *_section("Assets", _assets(definitions)),
        *_section("Checks", _checks(definitions)),
        *_section("Jobs", _jobs(repository)),
        *_section("Schedules", _schedules(repository)),
        *_section("Sensors", _sensors(repository)),
        *_section("Resources", _resources(repository)),
    ])  # fmt: skip


def _section(title: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    head, *body = rows
    yield f"## {title}\n"
    for row in (head, tuple("---" for _ in head), *body):
        yield "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _assets(definitions: dg.Definitions) -> Iterator[tuple[str, ...]]:
    graph = definitions.resolve_asset_graph()
    yield "asset", "what it is", "from", "kinds", "partitions"
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        parents = ", ".join(f"`{one.to_user_string()}`" for one in sorted(node.parent_keys))
        per = "one a chunk" if node.partitions_def else "none"
        yield f"`{key.to_user_string()}`", node.description or "", parents or "-", ", ".join(sorted(node.kinds)), per


def _checks(definitions: dg.Definitions) -> Iterator[tuple[str, ...]]:
    graph = definitions.resolve_asset_graph()
    yield "check", "of", "what it says"
    for key in sorted(graph.asset_check_keys, key=lambda key: (key.asset_key, key.name)):
        spec = graph.get_check_spec(key)
        yield f"`{key.name}`", f"`{key.asset_key.to_user_string()}`", spec.description or ""


def _jobs(repository: dg.RepositoryDefinition) -> Iterator[tuple[str, ...]]:
    yield "job", "what it does"
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            yield f"`{job.name}`", job.description or ""


def _schedules(repository: dg.RepositoryDefinition) -> Iterator[tuple[str, ...]]:
    yield "schedule", "launches", "when", "what for"
    for one in sorted(repository.schedule_defs, key=lambda one: one.name):
        yield f"`{one.name}`", f"`{one.job_name}`", f"`{one.cron_schedule}`", one.description or ""


def _sensors(repository: dg.RepositoryDefinition) -> Iterator[tuple[str, ...]]:
    yield "sensor", "launches", "what it does"
    for one in sorted(repository.sensor_defs, key=lambda one: one.name):
        launches = ", ".join(f"`{target.job_name}`" for target in one.targets)
        yield f"`{one.name}`", launches or "nothing", one.description or ""


def _resources(repository: dg.RepositoryDefinition) -> Iterator[tuple[str, ...]]:
    yield "resource", "what it is", "options"
    for name, one in sorted(repository.get_top_level_resources().items()):
        fields = getattr(one.config_schema.config_type, "fields", {}) if one.config_schema else {}
        options = "; ".join(f"`{option}`: {field.description or ''}" for option, field in fields.items())
        if name != "io_manager":
            yield f"`{name}`", one.description or "", options or "-"


def main() -> None:
    """Write the page, or compare it."""
    text = reference()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != text:
        sys.exit(f"{PAGE.name} is not what the definitions say: run `make reference`")


if __name__ == "__main__":
    main()
