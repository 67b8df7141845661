import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from subject_pipeline.orchestration.json_logs import JsonLines

CONFIGURED = """
telemetry: {enabled: false}
python_logs:
  dagster_handler_config:
    formatters:
      json_lines: {(): subject_pipeline.orchestration.json_logs.JsonLines}
    handlers:
      json_lines: {class: logging.StreamHandler, formatter: json_lines, stream: ext://sys.stdout}
"""
RUN = """
import dagster as dg

@dg.asset
def greeting(context) -> None:
    context.log.info('two\\nlines, "quoted", \\u00fc')

with dg.DagsterInstance.get() as instance:
    dg.materialize([greeting], instance=instance)
"""


@pytest.mark.long
def test_a_runs_logs_are_json_lines_where_dagster_is_told_so(tmp_path: Path) -> None:
    """Every line of standard output is an object that names the run; a message of two lines is one line."""
    (tmp_path / "dagster.yaml").write_text(CONFIGURED)
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"DAGSTER_HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    said = next(line for line in lines if line["message"].startswith("two"))
    assert said["message"] == 'two\nlines, "quoted", ü'
    assert (said["level"], said["step"]) == ("info", "greeting")
    assert {line["run_id"] for line in lines} == {said["run_id"]}
    assert {"RUN_SUCCESS", "STEP_SUCCESS"} <= {line.get("event") for line in lines}


def test_a_record_of_any_other_logger_is_a_line_too() -> None:
    """What has no run has no run's fields."""
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "%s is late", ("it",), None)
    line = json.loads(JsonLines().format(record))
    assert set(line) == {"ts", "level", "logger", "message"}
    assert (line["level"], line["message"]) == ("warning", "it is late")


BOTH = """
import dagster as dg

@dg.asset
def greeting(context) -> None:
    context.log.info("hello")

defs = dg.Definitions(assets=[greeting], loggers={"console": dg.json_console_logger}, executor=dg.in_process_executor)
with dg.DagsterInstance.get() as instance:
    job = defs.get_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, run_config=CONFIG).success
"""


def _said_by_both(home: Path, config: str) -> tuple[list[str], list[str]]:
    """The JSON lines of our formatter, and those of Dagster's logger, of one run."""
    (home / "dagster.yaml").write_text(CONFIGURED)
    done = subprocess.run(
        [sys.executable, "-c", BOTH.replace("CONFIG", config)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={"DAGSTER_HOME": str(home)},
    )
    return done.stdout.splitlines(), [line for line in done.stderr.splitlines() if line.startswith("{")]


@pytest.mark.long
def test_dagsters_own_json_logger_says_nothing_unless_each_run_asks_for_it(tmp_path: Path) -> None:
    """Why ours stays: one line of `dagster.yaml` covers runs of sensors, schedules and asset pages, `loggers` does not.

    Dagster takes a code location's loggers only for a run whose config names them, which those have not.
    """
    ours, dagsters = _said_by_both(tmp_path, "{}")
    assert len(ours) > 5
    assert dagsters == []


@pytest.mark.long
def test_dagsters_own_json_logger_says_no_more_in_more_bytes(tmp_path: Path) -> None:
    """Where a run asks for it: the same messages, of the same run, step and event."""
    ours, dagsters = _said_by_both(tmp_path, '{"loggers": {"console": {"config": {"log_level": "DEBUG"}}}}')
    theirs = {json.loads(line)["dagster_meta"]["orig_message"] for line in dagsters}
    assert theirs <= {json.loads(line)["message"] for line in ours}
    assert len("".join(dagsters)) > 3 * len("".join(ours))
