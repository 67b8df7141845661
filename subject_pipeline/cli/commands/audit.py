"""`audit`: append to the audit log, read it, verify it, anchor it."""

import click

from subject_pipeline.cli.lazy_group import Lazy, LazyGroup

_HERE = "subject_pipeline.cli.commands"
_EVIDENCE = f"{_HERE}.evidence"


@click.group(
    cls=LazyGroup,
    lazy=(
        Lazy(
            "append",
            f"{_EVIDENCE}.audit_append",
            "Append one row to a subject's chain; on disk when this returns.",
        ),
        Lazy(
            "checkpoint",
            f"{_EVIDENCE}.audit_verify",
            "Verify what is new since the last checkpoint, then sign the next.",
        ),
        Lazy(
            "ingest",
            f"{_EVIDENCE}.audit_records",
            "Append the access events of .jsonl or .parquet files, each once however often its file is read.",
        ),
        Lazy(
            "prove",
            f"{_EVIDENCE}.audit_verify",
            "Write a self-contained proof of what the latest checkpoint says of a subject, or that it says nothing.",
        ),
        Lazy(
            "search",
            f"{_HERE}.history.search",
            "Find rows of the audit log, or count them by subject, actor, purpose and more; nothing is verified.",
        ),
        Lazy("show", f"{_EVIDENCE}.audit_records", "Print a subject's rows, each as stored; nothing is verified."),
        Lazy(
            "verify",
            f"{_EVIDENCE}.audit_verify",
            "Check chains, logs and manifests against MACs, links and the last checkpoint; exit 1 on a finding.",
        ),
    ),
)
def audit() -> None:
    """Append to the audit log, read it, verify it, anchor it."""
