"""Which old runs Dagster no longer needs, and their deletion: nothing that a check, a sensor or a page reads goes.

Nothing red turns green by it, and nothing that is known is forgotten: what was recorded last of any partition stays.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dagster as dg
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from subject_pipeline.alerts.delivery import OPEN
from subject_pipeline.orchestration.history.runs import OFFERED_BY, VERSION, past_runs
from subject_pipeline.orchestration.history.stagings import last_reconciled_run
from subject_pipeline.orchestration.lineage import CANDIDATES
from subject_pipeline.orchestration.sensors.alerts import STATE_TAG

_PAGE = 500
_ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
_LOCATION = ".dagster/repository"
"""Dagster's tag of a run that it launched: which code location it is of."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What became of the old runs.

    Attributes:
        deleted: how many were deleted, or would be.
        kept: how many were kept, by what needs them.
        others: how many are another code location's.
    """

    deleted: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    others: int = 0


def prune(instance: DagsterInstance, me: DagsterRun, before: dt.datetime, *, dry_run: bool) -> Pruned:
    """Delete the runs that ended before a time and that nothing needs, with their events and their output.

    May be killed anywhere, and run again. Runs that end meanwhile only make more runs superfluous.

    Args:
        instance: whose runs.
        me: the run that prunes; runs of other code locations stay.
        before: UTC.
        dry_run: count, and delete nothing.
    """
    old = list(_old(instance, before))
    mine = [run for run in old if run.tags.get(_LOCATION) == me.tags.get(_LOCATION)]
    needed = _Needed(instance)
    reasons = {run.run_id: needed.why(run) for run in mine}
    superfluous = [run_id for run_id, reason in reasons.items() if reason is None]
    for run_id in () if dry_run else superfluous:
        instance.compute_log_manager.delete_logs(prefix=[run_id, "compute_logs"])
        instance.delete_run(run_id)
    kept = Counter(reason for reason in reasons.values() if reason is not None)
    return Pruned(len(superfluous), kept, len(old) - len(mine))


def _old(instance: DagsterInstance, before: dt.datetime) -> Iterator[DagsterRun]:
    """The runs that began and ended before a time."""
    cursor: str | None = None
    while page := instance.get_run_records(
        RunsFilter(statuses=_ENDED, created_before=before), limit=_PAGE, cursor=cursor
    ):
        for record in page:
            if (record.end_time or 0.0) < before.timestamp():
                yield record.dagster_run
        cursor = page[-1].dagster_run.run_id


class _Needed:
    """The runs that something reads."""

    def __init__(self, instance: DagsterInstance) -> None:
        self._instance = instance
        self._newest = {run_id for asset in instance.get_asset_keys() for run_id in _newest_records(instance, asset)}
        self._of_job: dict[str, str] = {}
        self._of_check: dict[dg.AssetCheckKey, str] = {}
        self._versions: dict[tuple[str, str], str] = {}

    def why(self, run: DagsterRun) -> str | None:
        """What needs a run; None: nothing."""
        reasons: dict[str, Callable[[], bool]] = {
            "newest_record": lambda: run.run_id in self._newest,
            "newest_evaluation": lambda: self._evaluated_last(run),
            "newest_failure": lambda: self._failed_last(run),
            "alert_not_delivered": lambda: run.tags.get(STATE_TAG) in {state.value for state in OPEN},
            "sensor_counts_attempts": lambda: self._is_of_the_last_version(run),
            "newest_of_job": lambda: self._newest_of(run.job_name) == run.run_id,
        }
        return next((reason for reason, holds in reasons.items() if holds()), None)

    def _evaluated_last(self, run: DagsterRun) -> bool:
        """Whether what Dagster shows of a check is of this run."""
        for kind in (DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED, DagsterEventType.ASSET_CHECK_EVALUATION):
            for event in self._events(run, kind):
                planned = kind is DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
                key = (event.asset_check_planned_data if planned else event.asset_check_evaluation_data).asset_check_key
                if key not in self._of_check:
                    record = self._instance.get_latest_asset_check_evaluation_record(key)
                    self._of_check[key] = record.run_id if record else ""
                if self._of_check[key] == run.run_id:
                    return True
        return False

    def _failed_last(self, run: DagsterRun) -> bool:
        """Whether a partition shows as failed, and this run is why."""
        if run.status is DagsterRunStatus.SUCCESS:
            return False
        for event in self._events(run, DagsterEventType.ASSET_MATERIALIZATION_PLANNED):
            planned = event.asset_materialization_planned_data
            last = self._instance.get_latest_planned_materialization_info(planned.asset_key, planned.partition)
            if last is not None and last.run_id == run.run_id:
                return True
        return False

    def _is_of_the_last_version(self, run: DagsterRun) -> bool:
        """Whether a sensor counts this run, so that work which failed for good is not begun again."""
        sensor = run.tags.get(OFFERED_BY)
        if sensor is None:
            return False
        asked = (run.job_name, sensor)
        if asked not in self._versions:
            newest = past_runs(self._instance, *asked)
            self._versions[asked] = newest[0].version if newest else ""
        return run.tags.get(VERSION) == self._versions[asked]

    def _newest_of(self, job: str) -> str:
        if job not in self._of_job:
            (newest,) = self._instance.get_run_records(RunsFilter(job_name=job), limit=1)
            self._of_job[job] = newest.dagster_run.run_id
        return self._of_job[job]

    def _events(self, run: DagsterRun, kind: DagsterEventType) -> Iterator[dg.DagsterEvent]:
        cursor: str | None = None
        while True:
            page = self._instance.get_records_for_run(run.run_id, cursor=cursor, of_type=kind, limit=_PAGE)
            for record in page.records:
                if record.event_log_entry.dagster_event is not None:
                    yield record.event_log_entry.dagster_event
            if not page.has_more:
                return
            cursor = page.cursor


def _newest_records(instance: DagsterInstance, asset: dg.AssetKey) -> Iterator[str]:
    """The runs that recorded an asset's newest, of each partition and as a whole, and its last whole staging."""
    for kind, fetch in (
        (DagsterEventType.ASSET_MATERIALIZATION, instance.fetch_materializations),
        (DagsterEventType.ASSET_OBSERVATION, instance.fetch_observations),
    ):
        yield from (record.run_id for record in fetch(asset, limit=1).records)
        ids = list(instance.get_latest_storage_id_by_partition(asset, kind).values())
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            wanted = dg.AssetRecordsFilter(asset_key=asset, storage_ids=page)
            yield from (record.run_id for record in fetch(wanted, limit=len(page)).records)
    if asset.path[-1] == CANDIDATES and (run_id := last_reconciled_run(instance, asset)) is not None:
        yield run_id
