"""`make bench-buckets`: how many requests decisions, erasures, lists and a look back make on an S3 server."""

import argparse
import datetime as dt
import functools
import itertools
import os
import shutil
from pathlib import Path

from buckets import Watch, requests_table
from reports import RAM, measured_on, say, write_part
from work import dataset_of, people_in, ring_in

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import Decision, parse_decision
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Order
from subject_pipeline.lifecycle.erasure.selecting import past_date
from subject_pipeline.lifecycle.history.telling import Record, manifest_then
from subject_pipeline.lifecycle.lists.life_columns import LIFE_COLUMNS
from subject_pipeline.lifecycle.lists.reading import read_manifests
from subject_pipeline.lifecycle.lists.subjects import Conditions
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.real.s3_proxy import Counted, make_bucket, s3_server

CHUNKS = 64
_ids = itertools.count()
_NOW = "9999-01-01T00:00:00.000000Z"


class Lives:
    """A store of some people, and what is decided about them."""

    def __init__(self, folder: Path, url: str, people: int) -> None:
        self.url, self.people = url, people
        self.ring = ring_in(folder)
        self.dataset = dataset_of(people_in(folder, people))
        layout = self.store().layout_or_create().chunks
        self.everybody = [f"WORKER-{number}" for number in range(100_001, 100_001 + people)]
        self.chunks: dict[str, list[str]] = {}
        for one in self.everybody:
            self.chunks.setdefault(layout.chunk_of(storage_key(one)), []).append(one)

    def store(self) -> SubjectStore:
        """The store, as another process opens it."""
        return SubjectStore.at(self.url, wanted_chunks=CHUNKS, ring=self.ring)

    def evidence(self) -> ManifestEvidence:
        """What records changes, likewise."""
        return ManifestEvidence(self.store(), "bench")

    def orders(self, people: list[str]) -> list[Decision]:
        """One decision about each."""
        now = format_time(dt.datetime.now(dt.UTC))
        order = {"kind": "interaction", "ts": now, "actor": "bench"}
        return [parse_decision({**order, "candidate_id": one, "decision_id": f"b-{next(_ids)}"}) for one in people]

    def decide(self, orders: list[Decision], outcome: str) -> None:
        """Apply decisions, all of which must come to the same."""
        decisions = Decisions(self.store(), "bench")
        found = {verdict.outcome for verdict in decisions.apply(orders)}
        decisions.close()
        if found != {outcome}:
            raise SystemExit(f"decisions were {found}, not {outcome}: the figures would mean nothing")

    def erase(self, people: list[str]) -> None:
        """Erase some people."""
        erasures = Erasures(self.store(), "bench")
        done = erasures.erase(people, Order("bench"))
        erasures.close()
        if done.erased != len(people):
            raise SystemExit(f"{done.erased} of {len(people)} erased: the figures would mean nothing")

    def register_again(self) -> None:
        """Register everybody who was not erased."""
        backfill(self.store(), self.dataset, limit=None, evidence=self.evidence())

    def due(self) -> int:
        """How many are due."""
        now = dt.datetime.now(dt.UTC)
        return read_manifests(
            self.store(),
            LIFE_COLUMNS,
            lambda frames: sum(rows.height for rows in Conditions(due=True).met(frames, now)),
        )

    def past_date(self) -> None:
        """Find those whom `subjects erase --due` erases."""
        evidence = self.evidence()
        evidence.open()
        past_date(self.store(), evidence, dt.datetime.now(dt.UTC))

    def certify(self) -> None:
        """Issue the certificates that are pending."""
        if not Certificates(self.store()).issue().certificates:
            raise SystemExit("no certificate was issued: the figures would mean nothing")

    def run(self, watch: Watch) -> None:
        """Every operation, each through `watch`."""
        one, *rest = self.everybody
        same = list(self.chunks.values())[1][:-1]
        each = [people[-1] for people in self.chunks.values()]
        orders = self.orders(rest)
        watch(f"register {self.people:,} people", lambda: backfill(self.store(), self.dataset, limit=None))
        for people in ([one], same, each):
            decide = functools.partial(self.decide, self.orders(people), "applied")
            watch(f"`decisions apply`, {_said(people, self.chunks)}", decide)
        watch(f"`decisions apply`, {_said(rest, self.chunks)}", lambda: self.decide(orders, "applied"))
        watch("the same file again", lambda: self.decide(orders, "already_applied"))
        watch("`subjects list --due`", self.due)
        watch("`subjects get`", lambda: SubjectRegistry(self.store()).get(one))
        watch("`subjects get --as-of`", lambda: manifest_then(self.store(), one, _NOW))
        watch("`subjects history`", lambda: Record.of(self.store(), one))
        watch("finding whom `subjects erase --due` takes", self.past_date)
        for people in ([one], same, each):
            watch(f"`subjects erase`, {_said(people, self.chunks)}", functools.partial(self.erase, people))
        watch(f"register {self.people:,} people again, without those", self.register_again)
        watch("`subjects compact`", lambda: compact(self.store(), self.evidence()))
        watch("`audit checkpoint`, the first", lambda: write_checkpoint(self.store()))
        watch(f"the certificates of these {1 + len(same) + len(each)}", self.certify)


def _said(people: list[str], chunks: dict[str, list[str]]) -> str:
    wanted = set(people)
    count = sum(not wanted.isdisjoint(theirs) for theirs in chunks.values())
    return f"{len(people):,} {'person' if len(people) == 1 else 'people'} in {count} chunk{'s' if count > 1 else ''}"


def lives_table(folder: Path, proxy: Counted, people: int) -> list[str]:
    """A row an operation: what it asked of the bucket."""
    lives = Lives(folder, f"{make_bucket(proxy, 'lives')}/store", people)
    lives.store().register(lives.dataset)
    return requests_table(proxy, lives.run)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-lives", help="made, and removed")
    parser.add_argument("--people", type=int, default=5_000)
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        with s3_server(options.folder) as proxy:
            os.environ.update(proxy.environment)
            lines = [f"{measured_on()[:-1]}; server and proxy on the same cores.", ""]
            write_part("bucket lives", say([*lines, *lives_table(options.folder, proxy, options.people)]))
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
