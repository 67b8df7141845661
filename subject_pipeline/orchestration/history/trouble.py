"""What Dagster's event log says of a finished run that somebody should look at."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from dagster import AssetCheckEvaluation, DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus

from subject_pipeline.alerts.alert import Alert, FailedStep, RedCheck, error_name, span
from subject_pipeline.orchestration.lasting_checks import red_partitions

_PAGE = 500
_STEPS_LOOKED_AT = 100


def trouble(instance: DagsterInstance, run: DagsterRun, assets: Mapping[str, str], *, dagster_url: str) -> Alert | None:
    """What to report of a run; None if it did not fail and nothing in it is red. A cancelled run has not failed.

    Args:
        instance: where the run was recorded.
        run: a finished run.
        assets: the assets' keys by the key of the step that makes each.
        dagster_url: where people reach Dagster's pages.
    """
    failed = run.status is DagsterRunStatus.FAILURE
    checks = _red_checks(instance, run.run_id)
    if not (failed or checks):
        return None
    return Alert(
        job=run.job_name,
        run=run.run_id,
        failed=failed,
        partitions=run.tags.get("dagster/partition")
        or span(
            run.tags.get("dagster/asset_partition_range_start"),
            run.tags.get("dagster/asset_partition_range_end"),
        ),
        reason=_reason(instance, run.run_id) if failed else None,
        steps=_failed_steps(instance, run.run_id, assets) if failed else (),
        checks=checks,
        link=f"{dagster_url}/runs/{run.run_id}",
    )


def _events(instance: DagsterInstance, run_id: str, of_type: DagsterEventType) -> Iterator[DagsterEvent]:
    cursor: str | None = None
    while True:
        page = instance.get_records_for_run(run_id, cursor=cursor, of_type=of_type, limit=_PAGE)
        for record in page.records:
            if record.event_log_entry.dagster_event is not None:
                yield record.event_log_entry.dagster_event
        if len(page.records) < _PAGE:
            return
        cursor = page.cursor


def _red_checks(instance: DagsterInstance, run_id: str) -> list[RedCheck]:
    """The last evaluation of each check and partition: a step that was retried repeats them."""
    last: dict[tuple[dg.AssetCheckKey, str | None], AssetCheckEvaluation] = {}
    for event in _events(instance, run_id, DagsterEventType.ASSET_CHECK_EVALUATION):
        found = event.asset_check_evaluation_data
        last[found.asset_check_key, found.partition] = found
    return [_red_check(found) for found in last.values() if not found.passed]


def _red_check(found: AssetCheckEvaluation) -> RedCheck:
    return RedCheck(
        asset=found.asset_key.to_user_string(),
        check=found.check_name,
        severity="error" if found.severity is dg.AssetCheckSeverity.ERROR else "warn",
        counts={
            name: value.value
            for name, value in found.metadata.items()
            if isinstance(value, dg.IntMetadataValue) and value.value is not None
        },
        partitions=_partitions(found),
    )


def _partitions(found: AssetCheckEvaluation) -> Sequence[str]:
    """Those that the check was evaluated for, that are still red, or that its tables' column `partition` names."""
    if found.partition is not None:
        return (found.partition,)
    tables = [value for value in found.metadata.values() if isinstance(value, dg.TableMetadataValue)]
    named = {str(record.data.get("partition") or "") for table in tables for record in table.records}
    return sorted((named | red_partitions(found)) - {""})


def _failed_steps(instance: DagsterInstance, run_id: str, assets: Mapping[str, str]) -> list[FailedStep]:
    found: dict[str, FailedStep] = {}
    for event in _events(instance, run_id, DagsterEventType.STEP_FAILURE):
        if event.step_key is None or len(found) >= _STEPS_LOOKED_AT:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        error = data.error
        cause = error.cause if error else None
        found[event.step_key] = FailedStep(
            event.step_key,
            assets.get(event.step_key),
            error_name(told, cause.message if cause else None, error.message if error else None),
        )
    return list(found.values())


def _reason(instance: DagsterInstance, run_id: str) -> str | None:
    for event in _events(instance, run_id, DagsterEventType.RUN_FAILURE):
        reason = event.job_failure_data.failure_reason
        return reason.value if reason else None
    return None
