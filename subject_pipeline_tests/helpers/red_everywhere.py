"""A code location whose every asset has run, whose checks are red, whose steps failed and whose sensors were asked."""

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import polars as pl
import pytest

from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.dagster_home import instance_in, own_descriptors
from subject_pipeline_tests.helpers.decisions import line
from subject_pipeline_tests.helpers.projects import definitions_of
from subject_pipeline_tests.helpers.ticks import Ticks

KEYS = [f"zqk{number:04d}" for number in range(7_000, 7_040)]
ACTOR = "zqactor@example.com"
_PREFIX = "ZQJX-"
_ODD = ["zq/odd7", "zq_odd7", "zqlong" + "x" * 300]
"""Two keys of one storage key, and one that is too long."""
_STRANGER = "ZQJX-zqstranger"
_NOW = dt.datetime.now(dt.UTC)

NEEDLES = (*KEYS, "zq/odd7", "zq_odd7", "zqlong", "zqstranger", "zqnobody", ACTOR)
"""Whatever names somebody: keys of the source, and with them candidate ids and storage keys, and who accessed."""


@dataclass
class RedEverywhere:
    """What there is once everything happened.

    Attributes:
        home: Dagster's.
        red: the checks that were red in a run.
        failures: what failed steps said of it.
        reasons: what sensors said.
        listed: the lists that metadata and failures named.
    """

    folder: Path
    home: Path
    instance: dg.DagsterInstance
    defs: dg.Definitions
    red: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.folder / "store"

    @property
    def store(self) -> SubjectStore:
        """The store."""
        return SubjectStore.at(str(self.root))

    def run(self, job: str, **config: Any) -> dg.ExecuteInProcessResult:
        """Run a job over all partitions, with the console's log as a worker has it."""
        tags = {"dagster/asset_partition_range_start": "chunk-0", "dagster/asset_partition_range_end": "chunk-3"}
        ranged = job.startswith(("register", "verify"))
        return self._execute(job, tags if ranged else {}, config)

    def _execute(self, job: str, tags: dict[str, str], config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        result = self.defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, run_config=config, raise_on_error=False
        )
        evaluations = result.get_asset_check_evaluations()
        self.red |= {one.check_name for one in evaluations if not one.passed}
        self.listed |= {str(one.metadata["listed"].value) for one in evaluations if "listed" in one.metadata}
        for event in result.all_events:
            if event.is_step_failure:
                said = str(event.step_failure_data.error)
                self.failures[str(event.step_key)] = said
                self.listed |= set(re.findall(r"findings/\S+\.parquet", said))
        return result

    def ask(self, sensor: str) -> None:
        """Tick a sensor until it asks for a run or says twice the same, and run what it asks for."""
        repository = self.defs.get_repository_def()
        definition = repository.get_sensor_def(sensor)
        resources = {name: repository.get_top_level_resources()[name] for name in definition.required_resource_keys}
        ticks = Ticks(definition, self.instance, resources)  # without the code location no dataset is waited for
        for _ in range(3):
            request = ticks.tick()
            self.reasons.append(ticks.reason)
            self._keep(ticks)
            if request is not None:
                job = str(request.job_name or definition.job_name)
                self._execute(job, dict(request.tags), dict(request.run_config))
                return

    def _keep(self, ticks: Ticks) -> None:
        """Keep what Dagster's daemon would record of a tick."""
        said = [ticks.cursor, ticks.reason, *map(repr, ticks.requests), *map(repr, ticks.events)]
        with (self.home / "ticks.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"{one}\n" for one in said)

    def people(self, keys: list[str], name: str = "people") -> None:
        """Write a dataset's source."""
        pl.DataFrame({"id": keys}, schema={"id": pl.String}).write_parquet(self.folder / f"{name}.parquet")

    def drop(self, name: str, *lines: Any) -> None:
        """Put a file into the inbox."""
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines), "utf-8")


@contextmanager
def red_everywhere(folder: Path) -> Iterator[RedEverywhere]:
    """Everything of it, once."""
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    platform = {"store": str(folder / "store"), "key_ring": str(folder / "ring.json"), "chunks": 4}
    datasets = [
        {
            "name": name,
            "source": str(folder / f"{name}.parquet"),
            "key_column": "id",
            "all": True,
            "candidate_id_prefix": _PREFIX,
        }
        for name in ("people", "others")
    ]
    with (
        definitions_of(platform, *datasets) as defs,
        instance_in(folder / "home") as instance,
        own_descriptors(folder / "printed.txt"),
    ):
        made = RedEverywhere(folder, folder / "home", instance, defs)
        _registered(made)
        _accessed_and_decided(made)
        _broken(made)
        _unreadable(made)
        _asked(made)
        yield made


def _registered(made: RedEverywhere) -> None:
    made.people(KEYS + _ODD)
    made.run("register_people", resources={"people_options": {"config": {"dry_run": True}}})
    made.run("register_people")
    made.people(KEYS[:20], "others")
    made.run("register_others")
    made.people(KEYS[10:] + _ODD)
    made.run("register_people")


def _event(key: str, event_id: str, **fields: Any) -> dict[str, Any]:
    event = {"candidate_id": _PREFIX + key, "event_id": event_id, "ts": "2026-06-30T12:00:00Z", "actor": ACTOR}
    return {**event, "action": "view_profile", "result": "success", **fields}


def _accessed_and_decided(made: RedEverywhere) -> None:
    made.drop("events.jsonl", *(_event(key, "e-1") for key in KEYS), _event("zqstranger", "e-1"))
    made.drop(f"{_PREFIX}{KEYS[3]}.jsonl", {"candidate_id": KEYS[3]}, f"no event of {KEYS[4]}")
    made.ask("ingest_new_event_files")
    made.drop("again.jsonl", _event(KEYS[0], "e-1", action="contradicts"))
    made.run("ingest_access_events")
    old = (_NOW - dt.timedelta(days=40)).isoformat()
    people = [_PREFIX + key for key in KEYS]
    made.drop(
        f"decisions/{people[5]}.jsonl",
        line("restricted", people[5]),
        line("restricted", "ZQJX-zqnobody"),
        line("consent_given", people[6], scope="nothing"),
        line("erasure_ordered", people[7], ts=old),
        line("erasure_ordered", people[8], ts=old),
        line("hold_placed", people[8], decision_id="d-2"),
        f"no decision about {people[9]}",
    )
    made.ask("apply_new_decision_files")
    made.run("carry_out_erasures")
    made.drop("late.jsonl", _event(KEYS[5], "e-2", ts=dt.datetime.now(dt.UTC).isoformat()))
    made.run("ingest_access_events")
    made.run("verify_checkpoint_and_report")


def _broken(made: RedEverywhere) -> None:
    """Rows and manifests changed by who has only the bucket, and a table that is put back."""
    kept = made.folder / "kept"
    shutil.copytree(made.root / "subjects", kept)
    made.drop(
        "decisions/more.jsonl", line("erasure_ordered", _PREFIX + KEYS[9]), line("restricted", _PREFIX + KEYS[10])
    )
    made.run("apply_decisions")
    made.run("carry_out_erasures")
    made.run("verify_checkpoint_and_report")
    shutil.rmtree(made.root / "subjects")
    shutil.copytree(kept, made.root / "subjects")
    for path in sorted((made.root / "audit").rglob("*.jsonl"))[:2]:
        path.write_text(path.read_text("utf-8").replace('"result":"success"', '"result":"denied"', 1), "utf-8")
    (made.root / "audit" / "chunk-0" / f"{KEYS[11]}.txt").write_text("foreign", "utf-8")
    for mode in ("full", "incremental"):
        made.run("verify_checkpoint_and_report", ops={"audit_verification": {"config": {"mode": mode}}})
    made.run("check_freshness")
    made.run("carry_out_erasures")
    made.run("apply_decisions")
    made.run("maintain_store")


def _unreadable(made: RedEverywhere) -> None:
    """A source that is damaged, one whose cells Polars quotes, a defect that quotes an id, and files that are none."""
    source = made.folder / "people.parquet"
    whole = source.read_bytes()
    source.write_bytes(whole[:40] + b"\xff" * 40 + whole[80:])
    made.run("register_people")
    source.write_bytes(whole)

    def quoting(*_: Any, **__: Any) -> NoReturn:
        os.write(2, b"a step may write what it likes, but nobody's id\n")
        pl.Series([_PREFIX + KEYS[12]]).str.to_integer()
        raise AssertionError

    def defect(*_: Any, **__: Any) -> NoReturn:
        raise KeyError(_PREFIX + KEYS[13])

    for name, what in (("stage_dataset", quoting), ("register_dataset", defect)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"subject_pipeline.components.subject_dataset.{name}", what)
            made.run("register_people")
    made.drop(f"decisions/{_PREFIX}{KEYS[14]}.csv", f"decision_id,candidate_id,kind,ts,actor,{KEYS[14]}", "a,b,c,d,e,f")
    made.run("apply_decisions")
    made.drop(f"{_PREFIX}{KEYS[15]}.parquet", "no parquet")
    made.run("ingest_access_events", ops={"audit_log": {"config": {"files": []}}})


def _asked(made: RedEverywhere) -> None:
    """Sensors about a source that is gone, a folder with a file that is empty, and files that were left behind."""
    for sensor in ("register_people_when_changed", "ingest_new_event_files", "apply_new_decision_files"):
        made.ask(sensor)
    source = made.folder / "people.parquet"
    source.unlink()
    source.mkdir()
    (source / f"{_PREFIX}{KEYS[16]}.parquet").touch()
    made.ask("register_people_when_changed")
