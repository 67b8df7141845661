"""Checks that go red when nothing was done for too long: silence must not look like health."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg
from dagster import DagsterInstance

from subject_pipeline.anchoring.last_checkpoint import stored_checkpoint
from subject_pipeline.errors import CheckpointError, SubjectPipelineError
from subject_pipeline.orchestration.ages import Freshness, Stale, freshness
from subject_pipeline.orchestration.history.partitions import PastPartitions, last_note
from subject_pipeline.orchestration.privacy.failures import said
from subject_pipeline.orchestration.resources import KeyRingResource, StoreResource
from subject_pipeline.project.platform import Automation

if TYPE_CHECKING:
    from subject_pipeline.orchestration.ui.tables import Value

FULL_VERIFICATION_IS_RECENT = "full_verification_is_recent"
CHECKPOINT_IS_RECENT = "checkpoint_is_recent"
VERIFICATION = dg.AssetKey("audit_verification")
CHECKPOINT = dg.AssetKey("audit_checkpoint")

_SHOWN = 500
_HOUR = dt.timedelta(hours=1)
_DAY = dt.timedelta(days=1)

Clock = Callable[[], dt.datetime]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def full_verification_check(
    partitions: Sequence[str], automation: Automation, clock: Clock = _now
) -> dg.AssetChecksDefinition:
    """The check that every partition was read whole recently enough.

    It reads one record a partition of Dagster's event log and nothing of the store.
    """
    within = automation.full_verification_within_days

    @dg.asset_check(
        asset=VERIFICATION,
        name=FULL_VERIFICATION_IS_RECENT,
        description=f"Every partition was verified in full within {within:g} days. Incremental runs trust what the "
        "store says of itself, so they do not count. The table names the partitions that are overdue.",
    )
    def full_verification_is_recent(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        past = PastPartitions.of(context.instance, VERIFICATION)
        found = freshness(past.full, partitions, now=clock(), within=dt.timedelta(days=within))
        return _verification_result(found, len(partitions), within)

    return full_verification_is_recent


def checkpoint_check(automation: Automation, clock: Clock = _now) -> dg.AssetChecksDefinition:
    """The check that a checkpoint was signed recently enough, by Dagster's own record of it."""
    within = automation.checkpoint_within_days

    @dg.asset_check(
        asset=CHECKPOINT,
        name=CHECKPOINT_IS_RECENT,
        description=f"Dagster recorded a checkpoint within {within:g} days: what was written since the last one could "
        "vanish unnoticed. Where the store's newest differs from the recorded one, the description says so.",
    )
    def checkpoint_is_recent(
        context: dg.AssetCheckExecutionContext, store: StoreResource, key_ring: KeyRingResource
    ) -> dg.AssetCheckResult:
        number, when = _recorded(context.instance)
        notes = last_note(context.instance, CHECKPOINT)
        return _checkpoint_result(number, when, clock(), within, _in_store(store, key_ring, number, notes))

    return checkpoint_is_recent


def _verification_result(found: Freshness, partitions: int, within: float) -> dg.AssetCheckResult:
    late = len(found.stale)
    if not late:
        words = f"all {partitions:,} partitions within {within:g} days"
    else:
        words = f"{late:,} of {partitions:,} partitions overdue, {found.never:,} of them never verified in full"
    metadata: dict[str, Value] = {
        "stale_partitions": late,
        "never_verified": found.never,
        "partitions": partitions,
        "allowed_days": within,
        "stale": _table(found.stale),
    }
    if found.oldest_days is not None:
        metadata["oldest_days"] = round(found.oldest_days, 3)
    return dg.AssetCheckResult(
        passed=not late, severity=dg.AssetCheckSeverity.ERROR, description=words, metadata=metadata
    )


def _table(stale: Sequence[Stale]) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord(
                {
                    "partition": one.partition,
                    "last_full_verification": one.last.isoformat(timespec="seconds") if one.last else "never",
                    "days_ago": "" if one.days is None else f"{one.days:.1f}",
                }
            )
            for one in stale[:_SHOWN]
        ],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name) for name in ("partition", "last_full_verification", "days_ago")]
        ),
    )


def _recorded(instance: DagsterInstance) -> tuple[int | None, dt.datetime | None]:
    """Number and time of the checkpoint that Dagster recorded last."""
    event = instance.get_latest_materialization_event(CHECKPOINT)
    materialization = event.asset_materialization if event else None
    if event is None or materialization is None:
        return None, None
    number = materialization.metadata.get("number")
    known = number.value if isinstance(number, dg.IntMetadataValue) else None
    return known, dt.datetime.fromtimestamp(event.timestamp, dt.UTC)


def _in_store(
    store: StoreResource, key_ring: KeyRingResource, recorded: int | None, notes: Sequence[str]
) -> str | None:
    """A description, if the store's newest checkpoint is not the recorded one; None if it is."""
    try:
        note = stored_checkpoint(store.open(key_ring), notes)
    except CheckpointError as error:
        return f"the store's does not hold: {said(error)}"
    except SubjectPipelineError as error:
        words = said(error) if error.may_name else f"{type(error).__name__}: {error}"
        return f"the store's could not be read ({words})"
    if note is None:
        return None if recorded is None else "the store has none"
    return None if note.number == recorded else f"the store's newest is number {note.number} of {note.time}"


def _checkpoint_result(
    number: int | None, when: dt.datetime | None, now: dt.datetime, within: float, differs: str | None
) -> dg.AssetCheckResult:
    age = None if when is None else max(now - when, dt.timedelta())
    metadata: dict[str, Value] = {
        "allowed_days": within,
        "store": differs or "as recorded",
    }
    if number is not None:
        metadata["number"] = number
    if when is None or age is None:
        words = "Dagster recorded none"
    else:
        metadata["age_hours"] = round(age / _HOUR, 3)
        metadata["recorded"] = dg.MetadataValue.timestamp(when)
        words = f"checkpoint {'?' if number is None else number} is {age / _DAY:.1f} days old, {within:g} are allowed"
    return dg.AssetCheckResult(
        passed=age is not None and age <= dt.timedelta(days=within),
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{words}; {differs}" if differs else words,
        metadata=metadata,
    )
