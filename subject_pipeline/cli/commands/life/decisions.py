"""`decisions`: orders about people, in files."""

import click

from subject_pipeline.cli.lazy_group import Lazy, LazyGroup


@click.group(
    cls=LazyGroup,
    lazy=(
        Lazy(
            "apply",
            "subject_pipeline.cli.commands.life.decisions_apply",
            "Apply the decisions of .jsonl, .csv or .parquet files, each once however often its file is read.",
        ),
    ),
)
def decisions() -> None:
    """Apply decisions about people from files."""
