"""`make demo`: the main Dagster job over 100,000 sample people, twice, in a store of the demo's own.

The first run inserts, the second finds everybody there. The demo's store and Dagster history live below `.demo/` and
are made anew each time; your own store in `./data` is not touched.
"""

import os
import shutil
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / ".demo"
PEOPLE = 100_000


def main() -> None:
    """Run the demo."""
    shutil.rmtree(DEMO, ignore_errors=True)
    (DEMO / "dagster_home").mkdir(parents=True)
    shutil.copy(ROOT / "dagster.yaml", DEMO / "dagster_home")
    os.environ["DAGSTER_HOME"] = str(DEMO / "dagster_home")
    os.environ["DAGSTER_COMPUTE_LOGS"] = str(DEMO / "dagster_home" / "compute_logs")
    os.environ["SUBJECT_STORE_URL"] = str(DEMO / "store")

    # Only now: Dagster reads the environment when it is imported and when definitions are loaded.
    import dagster as dg  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from subject_pipeline.definitions import defs  # noqa: PLC0415
    from subject_pipeline.use_cases.registry import SubjectRegistry  # noqa: PLC0415
    from subject_pipeline.use_cases.sample import sample_workers  # noqa: PLC0415
    from subject_pipeline.use_cases.store import SubjectStore  # noqa: PLC0415

    console = Console(width=110)
    source = ROOT / "sample_data" / "workers.parquet"
    sample_workers(PEOPLE, source)
    console.print(f"[bold]1.[/] {source.relative_to(ROOT)}: a parquet file of {PEOPLE:,} people")

    console.print("[bold]2.[/] The Dagster job register_workers, all 64 partitions in one run, twice")
    job = defs().resolve_job_def("register_workers")
    manifests = dg.AssetKey(["workers", "subject_manifests"])
    table = Table("run", "status", "partitions", "attempted", "inserted", "skipped", "failed", "checks", "seconds")
    first_ids = ""
    with dg.DagsterInstance.get() as instance:
        for name in ("first", "again"):
            started = time.perf_counter()
            result = job.execute_in_process(
                instance=instance,
                tags={
                    "dagster/asset_partition_range_start": "chunk-00",
                    "dagster/asset_partition_range_end": "chunk-3f",
                },
                run_config={"loggers": {"console": {"config": {"log_level": "ERROR"}}}},
                raise_on_error=True,
            )
            seconds = time.perf_counter() - started
            partitions = [
                event.materialization.metadata
                for event in result.get_asset_materialization_events()
                if event.asset_key == manifests
            ]
            sums = [
                f"{sum(int(str(one[what].value)) for one in partitions):,}"
                for what in ("attempted", "inserted", "skipped", "failed")
            ]
            checks = result.get_asset_check_evaluations()
            passed = f"{sum(check.passed for check in checks)} of {len(checks)} green"
            table.add_row(
                name, "success" if result.success else "failure", str(len(partitions)), *sums, passed, f"{seconds:.1f}"
            )
            first_ids = str(partitions[0]["first_ids"].value)
    console.print(table)

    some_id = first_ids.split(", ", maxsplit=1)[0]
    registry = SubjectRegistry(SubjectStore.at(os.environ["SUBJECT_STORE_URL"]))
    console.print(f"[bold]3.[/] One manifest of {registry.count():,}, that of {some_id}")
    console.print_json(registry.get(some_id).to_json())

    console.print("[bold]4.[/] Where to look next")
    console.print(
        "   make dev DEMO=1                these two runs in the Dagster UI, on http://127.0.0.1:3000\n"
        "   make dev                       the UI on a store of its own, ./data\n"
        "   export SUBJECT_STORE_URL=.demo/store\n"
        f"   .venv/bin/subject-pipeline subjects get {some_id}\n"
        "   .venv/bin/subject-pipeline subjects export --out manifests.jsonl\n"
        "   .venv/bin/subject-pipeline backfill --dataset workers --all --dry-run\n"
        "   README.md                      a dataset of your own is one YAML file",
        highlight=False,
    )


if __name__ == "__main__":
    main()
