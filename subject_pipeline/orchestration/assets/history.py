"""The upkeep of Dagster's own records, as a job."""

import datetime as dt

import dagster as dg
from pydantic import Field

from subject_pipeline.orchestration.history.pruning import prune


class PruneOptions(dg.Config):
    """How old runs must be, and whether they go."""

    days: int = Field(default=30, ge=1, description="Runs that ended longer ago than so many days are looked at.")
    dry_run: bool = Field(default=False, description="Count what would be deleted, and delete nothing.")


@dg.op(
    out={"pruned": dg.Out(dg.Nothing)},
    description="Deletes old runs of this code location, with their events and their output, that nothing needs any "
    "more. What stays: each partition's newest record, each check's last evaluation, the last checkpoint and its note, "
    "the last staging that read all rows, runs whose alert is not delivered, and those that sensors count.",
    tags={"dagster/kind/dagster": ""},
)
def delete_old_runs(context: dg.OpExecutionContext, config: PruneOptions) -> dg.Output[None]:
    """Delete what nothing needs, or count it."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=config.days)
    done = prune(context.instance, context.run, before, dry_run=config.dry_run)
    context.log.info("%s%d runs", "would delete " if config.dry_run else "deleted ", done.deleted)
    return dg.Output(
        None,
        "pruned",
        metadata={
            "dry_run": dg.MetadataValue.bool(config.dry_run),
            "older_than": dg.MetadataValue.timestamp(before),
            "would_delete" if config.dry_run else "deleted": done.deleted,
            **{f"kept/{reason}": count for reason, count in sorted(done.kept.items())},
            "of_other_code_locations": done.others,
        },
    )


@dg.job(
    executor_def=dg.in_process_executor,
    description="Delete old runs that nothing needs from Dagster's own records: a verification of 1,024 chunks leaves "
    "some 20 MiB there, and Dagster never deletes any. Nothing red turns green by it. Needs no config: runs older than "
    "30 days; `dry_run` counts what would go. Safe to run again at any time.",
    tags={"subject/job": "history"},
    metadata={"deletes": "runs, events and output of steps in Dagster's storage; nothing of the store"},
)
def prune_history() -> None:
    """One op."""
    delete_old_runs()
