"""`reviews`: from a list of people who wait to decisions about them."""

import datetime as dt
import uuid
from pathlib import Path

import click

from subject_pipeline.cli.commands.life.conditions import declared_words
from subject_pipeline.cli.shell import Shell, command_options
from subject_pipeline.lifecycle.lists.drafts import Export, ReviewKind
from subject_pipeline.lifecycle.lists.reviews import export_review, parse_age
from subject_pipeline.lifecycle.lists.subjects import Conditions


@click.group()
def reviews() -> None:
    """Write lists of people who wait for a decision, as drafts of decisions."""


@reviews.command()
@click.argument("kind", type=click.Choice([kind.value for kind in ReviewKind]), metavar="KIND")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help=".csv or .parquet")
@click.option("--dataset", metavar="D", help="Whom this dataset names; for vanished, named before.")
@click.option("--vertical", metavar="V", help="Of this vertical.")
@click.option("--older-than", metavar="AGE", help="Waiting for at least so long, such as 90d.")
@command_options
def export(
    shell: Shell, kind: str, out: Path, dataset: str | None, vertical: str | None, older_than: str | None
) -> None:
    """Write drafts of decisions: pending_consent, retention_due, vanished, held or ordered.

    Fill in `kind` and what it needs, then run `decisions apply FILE`; rows left as they are decide nothing.
    """
    store = shell.existing_store()
    wanted = ReviewKind(kind)
    age = parse_age(older_than) if older_than is not None else dt.timedelta(0)
    now = dt.datetime.now(dt.UTC)
    count = export_review(
        store,
        out,
        Export(wanted, shell.actor(), now, lambda: str(uuid.uuid4()), age),
        Conditions(dataset=dataset, vertical=vertical, declared=declared_words(store, vertical)),
    )
    shell.tell({"kind": kind, "out": str(out), "count": count}, f"{count:,} drafts written to {out}")
