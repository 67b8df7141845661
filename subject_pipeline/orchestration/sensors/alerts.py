"""Sensors that report failed runs and red checks to people: one message a run, to `$SUBJECT_ALERT_WEBHOOK`."""

import datetime as dt
import logging
import time
from collections.abc import Mapping

import dagster as dg
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from subject_pipeline.alerts.alert import Message, message
from subject_pipeline.alerts.delivery import OPEN, Delivery, State, Step, after_round, next_step
from subject_pipeline.alerts.posting import post_alert
from subject_pipeline.alerts.webhook import VARIABLE, Webhook
from subject_pipeline.orchestration.history.trouble import trouble
from subject_pipeline.project.platform import Alerts

STATE_TAG = "subject/alert"
"""Tag: the state of the run's alert; the UI finds undelivered ones by it."""

NOTED_TAG = "subject/alert_noted"
"""Tag: the run that it was noted for, since Dagster copies tags to a re-execution; rounds; time."""

NOT_ITS_OWN = "of_parent"
"""What `STATE_TAG` is set to if it was only copied."""

_EVERY_S = 15
_OPEN_LOOKED_AT = 50
_TICK_S = 30.0
"""No post is begun later in a tick: Dagster ends a tick after 60 s."""


def alert_sensors(alerts: Alerts, *, automation: bool) -> list[dg.SensorDefinition]:
    """The three sensors; they run where there is a webhook or automation, until switched in the UI.

    Raises:
        ConfigurationError: the webhook is no URL to post to.
    """
    if alerts.webhook:
        Webhook(alerts.webhook)  # a wrong one must not be noticed only with the first alert
    status = dg.DefaultSensorStatus.RUNNING if automation or alerts.webhook else dg.DefaultSensorStatus.STOPPED

    @dg.run_failure_sensor(
        minimum_interval_seconds=_EVERY_S,
        default_status=status,
        description=f"Posts one message to ${VARIABLE} about each failed run, its red checks included; without that "
        "variable it logs. A cancelled run is not a failure. The run's tag subject/alert has its delivery state.",
    )
    def alert_on_failed_run(context: dg.RunFailureSensorContext) -> None:
        _tell(context.instance, context.dagster_run, _assets(context.repository_def), alerts, context.log)

    @dg.run_status_sensor(
        run_status=DagsterRunStatus.SUCCESS,
        minimum_interval_seconds=_EVERY_S,
        default_status=status,
        description=f"Posts one message to ${VARIABLE} about each run that succeeded with red checks: severity error, "
        "or warn where all of them only warn; without that variable it logs.",
    )
    def alert_on_red_checks(context: dg.RunStatusSensorContext) -> None:
        _tell(context.instance, context.dagster_run, _assets(context.repository_def), alerts, context.log)

    @dg.sensor(
        minimum_interval_seconds=_EVERY_S,
        default_status=status,
        description="Posts again what the receiver did not take, six times within half an hour, then logs that it "
        "gave up. Launches nothing.",
    )
    def alert_again(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return _tell_again(context.instance, _assets(context.repository_def), alerts, context.log)

    return [alert_on_failed_run, alert_on_red_checks, alert_again]


def _tell(
    instance: DagsterInstance, run: DagsterRun, assets: Mapping[str, str], alerts: Alerts, log: logging.Logger
) -> None:
    try:
        found = trouble(instance, run, assets, dagster_url=alerts.dagster_url)
    except Exception:
        # Dagster moves its cursor past a run whose tick failed, so the run itself must record that its alert is due.
        _note(instance, run.run_id, Delivery(State.waiting, 0, _now()))
        raise
    if found is None:
        return
    if alerts.webhook is None:
        log.warning("%s is not set, so this is only logged: %s", VARIABLE, message(found)["text"])
        return
    _post(instance, run.run_id, message(found), Webhook(alerts.webhook), log)


def _tell_again(
    instance: DagsterInstance, assets: Mapping[str, str], alerts: Alerts, log: logging.Logger
) -> dg.SkipReason:
    if alerts.webhook is None:
        return dg.SkipReason(f"{VARIABLE} is not set.")
    webhook = Webhook(alerts.webhook)
    until = time.monotonic() + _TICK_S
    # A list of values is any of them.
    undelivered = RunsFilter(tags={STATE_TAG: [state.value for state in OPEN]})
    owed = 0
    for record in instance.get_run_records(undelivered, limit=_OPEN_LOOKED_AT, ascending=True):
        run = record.dagster_run
        noted = _noted(run)
        if noted is None:
            instance.add_run_tags(run.run_id, {STATE_TAG: NOT_ITS_OWN})
            continue
        owed += 1
        if next_step(noted, _now()) is Step.leave or time.monotonic() > until:
            continue
        try:
            found = trouble(instance, run, assets, dagster_url=alerts.dagster_url)
        except Exception:
            # One run whose record cannot be read must not keep the others' alerts from being posted.
            log.exception("run/%s: cannot be read", run.run_id)
            _note(instance, run.run_id, after_round(noted.rounds + 1, _now(), asked_s=None))
            continue
        if found is None:
            _note(instance, run.run_id, Delivery(State.given_up, noted.rounds, _now()))
        else:
            _post(instance, run.run_id, message(found), webhook, log)
    return dg.SkipReason(f"{owed} alerts were not delivered yet." if owed else "Every alert is settled.")


def _post(instance: DagsterInstance, run_id: str, told: Message, webhook: Webhook, log: logging.Logger) -> None:
    # Read again: another tick may have noted something after this one fetched the run.
    run = instance.get_run_by_id(run_id)
    noted = _noted(run) if run else None
    now, detail = post_alert(told, webhook, noted, lambda delivery: _note(instance, run_id, delivery))
    if now is None or now == noted:
        return
    if now.state is State.delivered:
        log.info("%s: alert delivered", told["alert_id"])
    elif now.state is State.waiting:
        log.warning("%s: alert not delivered yet (%s); again at %s", told["alert_id"], detail, now.at.isoformat())
    else:
        log.error("%s: alert %s (%s): %s", told["alert_id"], now.state.value, detail, told["text"])


def _note(instance: DagsterInstance, run_id: str, delivery: Delivery) -> None:
    words = f"{run_id} {delivery.rounds} {delivery.at.isoformat()}"
    instance.add_run_tags(run_id, {STATE_TAG: delivery.state.value, NOTED_TAG: words})


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _noted(run: DagsterRun) -> Delivery | None:
    """What is noted of this run itself; None if nothing is, or nothing that can be read."""
    try:
        run_id, rounds, at = run.tags.get(NOTED_TAG, "").split(" ")
        noted = Delivery(State(run.tags.get(STATE_TAG)), int(rounds), dt.datetime.fromisoformat(at))
    except ValueError:
        return None
    return noted if run_id == run.run_id and noted.at.tzinfo is not None else None


def _assets(repository: dg.RepositoryDefinition | None) -> Mapping[str, str]:
    """The assets' keys by the key of the step that makes each."""
    if repository is None:
        return {}
    return {key.to_python_identifier(): key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
