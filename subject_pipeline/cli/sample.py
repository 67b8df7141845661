"""`sample`: data to try the product on."""

from pathlib import Path

import click

from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.use_cases.sample import sample_workers


@click.group()
def sample() -> None:
    """Write sample data that looks real."""


@sample.command()
@click.option("--rows", required=True, type=click.IntRange(min=0), metavar="N", help="How many people.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The parquet file.")
@click.option("--seed", default=7, show_default=True, help="Another seed gives other people.")
@command_options
def workers(shell: Shell, rows: int, out: Path, seed: int) -> None:
    """Write a parquet file of people: worker_id (int64, unique, unsorted), name, trade, region, dates."""
    size = sample_workers(rows, out, seed=seed)
    shell.tell(
        {"rows": rows, "out": str(out), "bytes": size, "seed": seed},
        f"{rows:,} people written to {out} ({size:,} bytes)",
    )
