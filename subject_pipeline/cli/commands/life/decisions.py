"""`decisions`: orders about people, in files, and as they are recorded."""

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
        Lazy(
            "list",
            "subject_pipeline.cli.commands.life.decisions_list",
            "Print every recorded decision, one JSON object a line; in each chunk in the order of recording.",
        ),
    ),
)
def decisions() -> None:
    """Apply decisions about people from files, and list what was decided."""
