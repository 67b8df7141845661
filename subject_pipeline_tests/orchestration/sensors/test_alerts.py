import datetime as dt
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.orchestration.sensors.alerts import NOTED_TAG, STATE_TAG, alert_sensors
from subject_pipeline.project.platform import Alerts
from subject_pipeline_tests.helpers.instances import dagster_instance
from subject_pipeline_tests.helpers.receiver import Receiver, receiver

SECRET = "CAND-JANE-DOE"
PARTITIONS = dg.StaticPartitionsDefinition([f"chunk-{digit}" for digit in "01234567"])


class What(dg.Config):
    """What one run does."""

    fail: bool = False
    errors: int = 0
    warnings: int = 0


@dg.asset(
    key=["people", "manifests"],
    partitions_def=PARTITIONS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec(name, asset=["people", "manifests"]) for name in ("whole", "registered")],
)
def manifests(context: dg.AssetExecutionContext, config: What) -> Iterator[Any]:
    """Does what it is told."""
    table = dg.MetadataValue.table(
        [
            dg.TableRecord({"partition": "chunk-5", "candidate_id": SECRET}),
            dg.TableRecord({"partition": "", "candidate_id": SECRET}),
        ],
        dg.TableSchema([dg.TableColumn("partition"), dg.TableColumn("candidate_id")]),
    )
    yield dg.AssetCheckResult(
        check_name="whole",
        passed=not config.errors,
        description=f"{SECRET} is broken",
        metadata={"found": config.errors, "offenders": table, "note": SECRET},
    )
    yield dg.AssetCheckResult(
        check_name="registered",
        passed=not config.warnings,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"events": config.warnings},
    )
    if config.fail:
        raise dg.Failure(f"StoreError: the store refused {SECRET}")
    yield dg.MaterializeResult()


@dataclass
class Desk:
    """A Dagster instance, the sensors of the code location, and a receiver."""

    instance: dg.DagsterInstance
    inbox: Receiver

    @property
    def sensors(self) -> dict[str, Any]:
        """As they are loaded."""
        return {sensor.name: sensor for sensor in loaded()}

    def run(self, **what: Any) -> dg.ExecuteInProcessResult:
        """Run the job over all partitions."""
        return DEFS.resolve_job_def("register_people").execute_in_process(
            instance=self.instance,
            tags={"dagster/asset_partition_range_start": "chunk-0", "dagster/asset_partition_range_end": "chunk-7"},
            run_config={
                "ops": {"people__manifests": {"config": what}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            raise_on_error=False,
        )

    def see(self, result: dg.ExecuteInProcessResult) -> None:
        """The tick of the run status sensor that a finished run concerns."""
        run = self.instance.get_run_by_id(result.run_id)
        assert run is not None
        name, event = (
            ("alert_on_red_checks", result.get_run_success_event())
            if result.success
            else ("alert_on_failed_run", result.get_run_failure_event())
        )
        context = dg.build_run_status_sensor_context(
            sensor_name=name,
            dagster_event=event,
            dagster_instance=self.instance,
            dagster_run=run,
            repository_def=DEFS.get_repository_def(),
        )
        self.sensors[name](context if result.success else context.for_run_failure())

    def sweep(self) -> str:
        """The tick of the sensor that posts again."""
        context = dg.build_sensor_context(instance=self.instance, repository_def=DEFS.get_repository_def())
        reason: str = self.sensors["alert_again"](context).skip_message
        return reason

    def tags(self, run_id: str) -> tuple[str | None, str]:
        """How far a run's alert is, and what was noted."""
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.tags.get(STATE_TAG), run.tags.get(NOTED_TAG, "")

    def let_time_pass(self, run_id: str) -> None:
        """What was noted of a run was noted an hour ago."""
        owner, rounds, at = self.tags(run_id)[1].split(" ")
        earlier = (dt.datetime.fromisoformat(at) - dt.timedelta(hours=1)).isoformat()
        self.instance.add_run_tags(run_id, {NOTED_TAG: f"{owner} {rounds} {earlier}"})


DEFS = dg.Definitions(
    assets=[manifests],
    jobs=[dg.define_asset_job("register_people", selection=dg.AssetSelection.assets(manifests))],
    executor=dg.in_process_executor,
)


def loaded() -> list[Any]:
    """The sensors, as this project's YAML declares them."""
    environment = {name: os.environ.get(f"SUBJECT_{name}", "").strip() for name in ("ALERT_WEBHOOK", "DAGSTER_URL")}
    given = {name.lower().removeprefix("alert_"): value for name, value in environment.items() if value}
    return alert_sensors(Alerts(**given), automation=os.environ.get("SUBJECT_AUTOMATION") == "on")


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose webhook is a receiver of its own."""
    with receiver() as inbox, dagster_instance() as instance:
        monkeypatch.setenv("SUBJECT_ALERT_WEBHOOK", inbox.url)
        monkeypatch.setenv("SUBJECT_DAGSTER_URL", "https://dagster.example.com/")
        yield Desk(instance, inbox)


def test_a_failed_run_posts_one_message(desk: Desk) -> None:
    """It names the asset, the error's class, the partitions and the run's page; the run's tag says delivered."""
    result = desk.run(fail=True)
    desk.see(result)
    (told,) = desk.inbox.received
    assert told["kind"] == "run_failed"
    assert (told["job"], told["run"], told["reason"]) == ("register_people", result.run_id, "STEP_FAILURE")
    assert (told["asset"], told["partitions"]) == ("people/manifests", "chunk-0...chunk-7")
    assert told["steps"] == [{"step": "people__manifests", "asset": "people/manifests", "error": "StoreError"}]
    assert told["link"] == f"https://dagster.example.com/runs/{result.run_id}"
    assert desk.tags(result.run_id)[0] == "delivered"


def test_red_checks_of_a_run_that_succeeded_post_one_message(desk: Desk) -> None:
    """All of a run's red checks are in one message, with counts and the partitions that their tables name."""
    desk.see(desk.run(errors=3, warnings=2))
    (told,) = desk.inbox.received
    assert (told["kind"], told["severity"], told["check"], told["checks_red"]) == ("checks_red", "error", "whole", 2)
    assert told["checks"] == [
        {
            "asset": "people/manifests",
            "check": "whole",
            "severity": "error",
            "counts": {"found": 3},
            "partitions": "chunk-5",
        },
        {
            "asset": "people/manifests",
            "check": "registered",
            "severity": "warn",
            "counts": {"events": 2},
            "partitions": None,
        },
    ]


def test_a_check_that_warns_alerts_as_a_warning(desk: Desk) -> None:
    """Severity warn is posted and says so."""
    desk.see(desk.run(warnings=2))
    assert [told["severity"] for told in desk.inbox.received] == ["warn"]


def test_a_failed_run_with_red_checks_is_one_message(desk: Desk) -> None:
    """The failure and the checks that were evaluated before it are told together."""
    desk.see(desk.run(fail=True, errors=1))
    (told,) = desk.inbox.received
    assert (told["kind"], told["checks_red"], told["check"]) == ("run_failed", 1, "whole")


def test_a_green_run_posts_nothing(desk: Desk) -> None:
    """Nothing is posted and nothing is noted."""
    result = desk.run()
    desk.see(result)
    assert desk.inbox.received == []
    assert desk.tags(result.run_id)[0] is None


def test_a_cancelled_run_is_no_failure(desk: Desk) -> None:
    """Even where a sensor is shown one, nothing is posted."""
    result = desk.run()
    run = desk.instance.get_run_by_id(result.run_id)
    assert run is not None
    desk.instance.report_run_canceled(run)
    desk.see(result)
    assert desk.inbox.received == []


@pytest.mark.long
def test_no_id_and_no_words_of_a_run_leave_the_house(desk: Desk) -> None:
    """Ids stand in tables, descriptions and errors; none is in any message."""
    desk.see(desk.run(fail=True, errors=1))
    desk.see(desk.run(errors=1))
    assert len(desk.inbox.received) == 2
    assert SECRET not in str(desk.inbox.received)


def test_a_run_is_told_once_however_often_it_is_seen(desk: Desk) -> None:
    """A cursor that was not saved, a restart, the other sensor: the run itself says that it was told."""
    result = desk.run(fail=True)
    for _ in range(3):
        desk.see(result)
        desk.sweep()
    assert desk.inbox.ids == [f"run/{result.run_id}"]


@pytest.mark.long
def test_a_re_execution_that_inherits_the_tags_has_an_alert_of_its_own(desk: Desk) -> None:
    """Dagster copies tags to a re-execution: what was noted of its parent is not taken for its own."""
    parent = desk.run(fail=True)
    desk.see(parent)
    child = desk.run(fail=True)
    state, noted = desk.tags(parent.run_id)
    desk.instance.add_run_tags(child.run_id, {STATE_TAG: str(state), NOTED_TAG: noted})
    desk.see(child)
    assert desk.inbox.ids == [f"run/{parent.run_id}", f"run/{child.run_id}"]


@pytest.mark.long
def test_tags_that_were_copied_are_not_swept_for_ever(desk: Desk) -> None:
    """A run that inherited an open alert without one of its own is marked, so that it takes nobody's place."""
    parent, child = desk.run(fail=True), desk.run()
    desk.inbox.will_answer(500, 500)
    desk.see(parent)
    state, noted = desk.tags(parent.run_id)
    desk.instance.add_run_tags(child.run_id, {STATE_TAG: str(state), NOTED_TAG: noted})
    assert desk.sweep() == "1 alerts were not delivered yet."
    assert desk.tags(child.run_id)[0] == "of_parent"
    assert len(desk.inbox.received) == 2


@pytest.mark.long
def test_what_was_not_taken_is_posted_at_a_later_tick(desk: Desk) -> None:
    """A failing receiver fails no tick; the next sensor posts when it is due, once."""
    result = desk.run(fail=True)
    desk.inbox.will_answer(500, 500)
    desk.see(result)
    assert desk.tags(result.run_id)[0] == "waiting"
    desk.sweep()
    assert len(desk.inbox.received) == 2
    desk.let_time_pass(result.run_id)
    desk.sweep()
    desk.sweep()
    assert desk.tags(result.run_id)[0] == "delivered"
    assert desk.inbox.ids == [f"run/{result.run_id}"] * 3
    assert desk.sweep() == "Every alert is settled."


@pytest.mark.long
def test_a_receiver_that_stays_away_is_given_up_and_wedges_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After six rounds it is logged with the whole text, without the webhook's URL, and others are posted."""
    lost = desk.run(fail=True)
    said: list[str] = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(logging.Logger, level, lambda _, text, *values: said.append(text % values))
    desk.inbox.will_answer(*[503] * 12)
    desk.see(lost)
    for _ in range(8):
        desk.let_time_pass(lost.run_id)
        desk.sweep()
    assert desk.tags(lost.run_id)[0] == "given_up"
    assert len(desk.inbox.received) == 12
    (end,) = [line for line in said if "given_up" in line]
    assert "Run failed: register_people" in end
    assert not any("secret-token" in line for line in said)
    desk.see(desk.run(fail=True))
    assert len(desk.inbox.received) == 13


def test_a_tick_that_died_amid_a_post_does_not_post_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request went out and the process died before it noted the answer: it is unconfirmed, and not repeated."""
    result = desk.run(fail=True)
    add = type(desk.instance).add_run_tags
    died: list[str] = []

    def die(instance: Any, run_id: str, tags: dict[str, str]) -> None:
        if tags.get(STATE_TAG) == "delivered" and not died:
            died.append(run_id)
            raise KeyboardInterrupt
        add(instance, run_id, tags)

    monkeypatch.setattr(type(desk.instance), "add_run_tags", die)
    with pytest.raises(KeyboardInterrupt):
        desk.see(result)
    desk.see(result)
    desk.sweep()
    desk.let_time_pass(result.run_id)
    desk.sweep()
    assert desk.tags(result.run_id)[0] == "unconfirmed"
    assert len(desk.inbox.received) == 1


def test_a_run_that_could_not_be_read_is_still_owed_an_alert(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster goes on after a tick that failed; the run's tag brings it back."""
    result = desk.run(fail=True)
    with monkeypatch.context() as broken:

        def fail(*_: Any, **__: Any) -> Any:
            raise OSError("database is locked")

        broken.setattr("subject_pipeline.orchestration.sensors.alerts.trouble", fail)
        with pytest.raises(OSError, match="locked"):
            desk.see(result)
        desk.sweep()
    assert desk.inbox.received == []
    desk.let_time_pass(result.run_id)
    desk.sweep()
    assert desk.inbox.ids == [f"run/{result.run_id}"]


def test_without_a_webhook_it_is_logged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is logged at the tick; nothing is posted, then or later."""
    monkeypatch.delenv("SUBJECT_ALERT_WEBHOOK")
    said: list[str] = []
    monkeypatch.setattr(logging.Logger, "warning", lambda _, text, *values: said.append(text % values))
    result = desk.run(fail=True)
    desk.see(result)
    assert any("Run failed: register_people" in line for line in said)
    assert desk.inbox.received == []
    assert desk.tags(result.run_id)[0] is None


@pytest.mark.parametrize(
    ("environment", "running"),
    [
        ({}, False),
        ({"SUBJECT_AUTOMATION": "on"}, True),
        ({"SUBJECT_ALERT_WEBHOOK": "https://example.com/x"}, True),
        ({"SUBJECT_AUTOMATION": "off", "SUBJECT_ALERT_WEBHOOK": " "}, False),
    ],
)
def test_sensors_run_where_there_is_somebody_to_tell(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], running: bool
) -> None:
    """A webhook, or automation, turns them on; else they are off."""
    for name in ("SUBJECT_AUTOMATION", "SUBJECT_ALERT_WEBHOOK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wanted = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    sensors = loaded()
    assert [sensor.name for sensor in sensors] == ["alert_on_failed_run", "alert_on_red_checks", "alert_again"]
    assert {sensor.default_status for sensor in sensors} == {wanted}


def test_a_wrong_webhook_is_found_out_when_the_code_location_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not by the first alert that is lost."""
    monkeypatch.setenv("SUBJECT_ALERT_WEBHOOK", "hooks.example.com/secret")
    with pytest.raises(ConfigurationError, match="http"):
        loaded()
