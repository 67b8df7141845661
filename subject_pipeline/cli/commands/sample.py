"""`sample`: data to try the product on."""

from pathlib import Path

import click

from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.samples.events import people_of, sample_events
from subject_pipeline.samples.people import sample_workers


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


@sample.command()
@click.option("--rows", required=True, type=click.IntRange(min=0), metavar="N", help="How many events.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The JSON lines file.")
@click.option(
    "--people",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many people they are about. Default: a tenth of the events, at least 1, at most 1,000.",
)
@click.option(
    "--candidate-id-prefix", "prefix", default="WORKER-", show_default=True, metavar="P", help="Begins every id."
)
@click.option("--seed", default=7, show_default=True, help="Another seed gives other events.")
@command_options
def events(shell: Shell, rows: int, out: Path, people: int | None, prefix: str, seed: int) -> None:
    """Write access events about the people of `sample workers`: who did what to whom, when, with what result."""
    people = people or people_of(rows)
    size = sample_events(rows, out, people=people, prefix=prefix, seed=seed)
    shell.tell(
        {"rows": rows, "out": str(out), "bytes": size, "seed": seed, "people": people},
        f"{rows:,} events about {people:,} people written to {out} ({size:,} bytes)",
    )
