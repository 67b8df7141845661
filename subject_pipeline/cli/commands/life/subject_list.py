"""`subjects list`: who meets some conditions."""

import datetime as dt
import functools
from pathlib import Path
from typing import Any

import click
import orjson

from subject_pipeline.cli.commands.life.conditions import declared_words
from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.lifecycle.lists.files import CSV, JSON_LINES, PARQUET, check_ending, write_frames
from subject_pipeline.lifecycle.lists.life_columns import LIFE_COLUMNS, Frames
from subject_pipeline.lifecycle.lists.reading import read_manifests
from subject_pipeline.lifecycle.lists.subjects import SUBJECT_SCHEMA, Conditions, in_words, parse_consents


@click.command("list")
@click.option("--status", metavar="S", help="active, restricted or erasure_ordered.")
@click.option("--dataset", metavar="D", help="Whom this dataset names.")
@click.option("--held", is_flag=True, help="Under a legal hold.")
@click.option("--vertical", metavar="V", help="Of this vertical.")
@click.option("--consent", "consents", multiple=True, metavar="SCOPE=STATUS",
              help="Such as general_pii=withdrawn. May be given again.")  # fmt: skip
@click.option("--due", is_flag=True, help="Past a date until which data may be kept, held or not.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help=".jsonl, .csv or .parquet")
@command_options
def list_(
    shell: Shell,
    status: str | None,
    dataset: str | None,
    held: bool,
    vertical: str | None,
    consents: tuple[str, ...],
    due: bool,
    out: Path | None,
) -> None:
    """Print the ids of subjects: of all, or of those who meet conditions."""
    if out is not None:
        check_ending(out, (JSON_LINES, CSV, PARQUET))
    store = shell.existing_store()
    conditions = Conditions(
        status, vertical, dataset, parse_consents(consents), held, due, declared_words(store, vertical)
    )
    now = dt.datetime.now(dt.UTC)

    def listed(frames: Frames) -> Frames:
        return (in_words(rows, now) for rows in conditions.met(frames, now))

    read = functools.partial(read_manifests, store, LIFE_COLUMNS)
    if out is not None:
        count = read(lambda frames: write_frames(out, listed(frames), SUBJECT_SCHEMA))
        shell.tell({"out": str(out), "count": count}, f"{count:,} subjects written to {out}")
    elif shell.as_json:
        found: list[dict[str, Any]] = read(
            lambda frames: [one for rows in listed(frames) for one in orjson.loads(rows.write_json())]
        )
        shell.tell({"count": len(found), "subjects": found}, "")
    else:
        ids: list[str] = read(lambda frames: [one for rows in listed(frames) for one in rows["candidate_id"]])
        if ids:
            click.echo("\n".join(ids))
