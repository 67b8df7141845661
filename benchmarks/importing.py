"""What an import of manifests costs: documents in the form of an export by column, and beside them one by one.

Each import is a process of its own, in turns, and the medians are divided, because the machine may be busy with
something else. An import into an empty store is followed by the same one again, which changes nothing.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

from reports import RAM, Step, machine, start, tell

from subject_pipeline.manifests.usual_documents import usual_rows
from subject_pipeline.registry import import_rows
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.exporting import export
from subject_pipeline.registry.importing import import_manifests
from subject_pipeline.samples.people import sample_workers
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

HERE = Path(__file__).resolve()
PEOPLE = 100_000
ROUNDS = 3
WAYS = ("by column", "one by one")


def exported(folder: Path, people: int) -> Path:
    """An export of sample people."""
    sample_workers(people, folder / "workers.parquet")
    store = SubjectStore.at(str(folder / "source"))
    dataset = DatasetDeclaration(
        name="workers", source=str(folder / "workers.parquet"), key_column="worker_id", candidate_id_prefix="WORKER-"
    )
    store.register(dataset)
    backfill(store, dataset, limit=None)
    export(store, folder / "manifests.jsonl")
    return folder / "manifests.jsonl"


def step(way: str, source: Path, folder: Path) -> None:
    """One import, the whole of one process."""
    if way != WAYS[0]:
        import_rows.usual_rows = lambda _, layout, words: usual_rows([], layout, words)
    store = SubjectStore.at(str(folder))
    start()
    report = import_manifests(store, source)
    tell(inserted=report.inserted, unchanged=report.unchanged, failed=report.failed)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        way, source, store = arguments.step
        step(way, Path(source), Path(store))
        return
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        source = exported(folder, arguments.people)
        for _ in range(arguments.rounds):
            for way in WAYS:
                for run, counts in (("first", (arguments.people, 0)), ("again", (0, arguments.people))):
                    one = Step(HERE, "--step", way, source, folder / "store").found()
                    if (one["inserted"], one["unchanged"]) != counts:
                        raise SystemExit(f"{way}, {run}: {one}")
                    found.setdefault((run, way), []).append(one)
                shutil.rmtree(folder / "store")
    print(f"{arguments.people:,} manifests, {machine()}\n")
    print("| import | way | seconds | CPU s | peak MiB | CPU of by column / of this |")
    print("|---|---|---:|---:|---:|---:|")
    for (run, way), ones in sorted(found.items(), reverse=True):
        median = {key: statistics.median(one[key] for one in ones) for key in ("seconds", "cpu_s", "peak_mib")}
        best = statistics.median(one["cpu_s"] for one in found[run, WAYS[0]])
        print(
            f"| {run} | {way} | {median['seconds']:.2f} | {median['cpu_s']:.2f} | {median['peak_mib']:,.0f} | "
            f"{best / median['cpu_s']:.2f} |"
        )


if __name__ == "__main__":
    main()
