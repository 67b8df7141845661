"""`make bench-dagster`: what many datasets and chunks cost Dagster, beside Dagster itself.

Loading is in CPU seconds of a fresh process. Growth is of the files of Dagster's event log, for one run over all
partitions of the verification, and of an asset that does nothing, on the same instance.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from reports import RAM, measured_on, say, write_part

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.orchestration.platform import platform_definitions
from subject_pipeline.orchestration.resources import LayoutResource
from subject_pipeline.project.platform import PlatformSettings
from subject_pipeline.store.opened import SubjectStore

CHUNKS, DATASETS = 1_024, 50
LOAD = """
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
import dagster as dg

imported = time.process_time()
if FOLDER:
    dg.load_from_defs_folder(path_within_project=Path(FOLDER)).get_repository_def().load_all_definitions()
print(imported, time.process_time())
"""


def project(folder: Path, datasets: int, chunks: int) -> Path:
    """A Dagster project of so many datasets."""
    defs = folder / "many" / "defs"
    (defs / "platform").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "many"\n'
    )
    for package in (defs, defs.parent):
        (package / "__init__.py").touch()
    kind = "type: subject_pipeline.components.Subject"
    (defs / "platform" / "defs.yaml").write_text(f"{kind}Platform\nattributes: {{chunks: {chunks}}}\n")
    for number in range(datasets):
        (defs / f"d{number}").mkdir()
        attributes = f"{{name: d{number}, source: d{number}.parquet, key_column: id}}"
        (defs / f"d{number}" / "defs.yaml").write_text(f"{kind}Dataset\nattributes: {attributes}\n")
    return folder


def loading(folder: Path | None) -> tuple[float, float]:
    """CPU seconds until Dagster is imported, and until everything is loaded."""
    code = LOAD.replace("FOLDER", repr(str(folder) if folder else ""))
    paths = os.pathsep.join([*([str(folder)] if folder else []), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    imported, loaded = map(float, done.stdout.split())
    return imported, loaded


def grown(home: Path, instance: dg.DagsterInstance, job: dg.JobDefinition, first: str, last: str) -> int:
    """How many bytes Dagster's files grew by with one run of a job over a range of partitions."""
    before = _size(home)
    result = job.execute_in_process(
        instance=instance,
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    assert result.success  # noqa: S101 - a run that failed measures nothing
    return _size(home) - before


def growth(folder: Path, chunks: int) -> tuple[int, int]:
    """The growth by one run of a bare asset, and of the verification."""
    home = folder / "home"
    home.mkdir()
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    settings = PlatformSettings(store=str(folder / "store"), key_ring=str(folder / "ring.json"), chunks=chunks)
    SubjectStore.at(settings.store, wanted_chunks=chunks).layout_or_create()
    partitions = LayoutResource.of(settings).partitions()

    @dg.asset(partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def bare() -> None:
        """Does nothing."""

    verification = dg.AssetKey("audit_verification")
    ours = platform_definitions(settings, [])
    jobs = [
        dg.define_asset_job(name, selection=dg.AssetSelection.assets(key), executor_def=dg.in_process_executor)
        for name, key in (("run_bare", dg.AssetKey("bare")), ("run_ours", verification))
    ]
    defs = dg.Definitions.merge(ours, dg.Definitions(assets=[bare], jobs=jobs))
    names = partitions.get_partition_keys()
    with dg.DagsterInstance.from_config(str(_configured(home))) as instance:
        found = []
        for job in ("run_bare", "run_ours"):
            resolved = defs.resolve_job_def(job)
            grown(home, instance, resolved, names[0], names[0])  # what is made once is there
            found.append(grown(home, instance, resolved, names[0], names[-1]))
    return found[0], found[1]


def _configured(home: Path) -> Path:
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return home


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(folder: Path, chunks: int) -> Iterator[str]:
    """The tables."""
    loading(project(folder / "first", 1, chunks))  # whose bytecode is then there, as in an installed package
    imported, _ = loading(None)
    yield f"| definitions at {chunks:,} chunks | CPU s | of which Dagster's own import |"
    yield "|---|---:|---:|"
    for datasets in (1, DATASETS):
        _, loaded = loading(project(folder / f"of-{datasets}", datasets, chunks))
        yield f"| {datasets} dataset{'s' if datasets > 1 else ''} | {loaded:.2f} | {imported:.2f} |"
    yield ""
    bare, ours = growth(folder, chunks)
    yield f"| one run over {chunks:,} partitions | MiB in Dagster's event log | times the bare asset |"
    yield "|---|---:|---:|"
    yield f"| an asset that does nothing | {bare / 2**20:.1f} | 1 |"
    yield f"| `audit_verification` | {ours / 2**20:.1f} | {ours / bare:.2f} |"


def main() -> None:
    """Measure, and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--chunks", type=int, default=CHUNKS, help="fewer, to try the benchmark itself")
    chunks = options.parse_args().chunks
    with TemporaryDirectory(dir=RAM) as folder:
        told = say(chain([measured_on(), ""], measure(Path(folder), chunks)))
    if chunks == CHUNKS:
        write_part("dagster", told)


if __name__ == "__main__":
    main()
