import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.decisions.decision import Decision, Kind
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Erasure, Order
from subject_pipeline.registry.backfill import BackfillReport, backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline_tests.conftest import KEY_COLUMN, Prepared
from subject_pipeline_tests.helpers.audit_stores import Place, people, place_in
from subject_pipeline_tests.helpers.recorded import States, decisions_of, table_of

P, OTHER = people(0, 2)
ELSEWHERE = people(1, 1)[0]
EVERYBODY = [P, OTHER, ELSEWHERE]
ORDER = Order("officer", reason="asked for it")


@dataclass(frozen=True, slots=True)
class People:
    """Three people who were registered and staged, and what is done to them, each time as by another process."""

    place: Place
    dataset: DatasetDeclaration

    def erase(self, *candidate_ids: str, order: Order = ORDER, **options: Any) -> Erasure:
        """Erase some people."""
        erasures = Erasures(self.place.fresh_store(), "tester")
        try:
            return erasures.erase(candidate_ids, order, **options)
        finally:
            erasures.close()

    def decide(self, kind: Kind, candidate_id: str = P, **fields: Any) -> str:
        """Apply one decision; what became of it, with the reason where it was rejected."""
        now = format_time(dt.datetime.now(dt.UTC))
        decision = Decision(uuid.uuid4().hex, candidate_id, kind, now, "officer", **fields)
        decisions = Decisions(self.place.fresh_store(), "tester")
        try:
            (verdict,) = decisions.apply([decision])
        finally:
            decisions.close()
        return verdict.reason or verdict.outcome

    def backfill(self, **options: Any) -> BackfillReport:
        """Register everybody again."""
        return backfill(self.place.store, self.dataset, evidence=self.place.evidence(), **options)

    def stage(self, **options: Any) -> None:
        """Stage everybody again, as nightly runs do."""
        stage_dataset(self.place.store, self.dataset, limit=None, **options)

    def table(self) -> States:
        """The table's manifests."""
        return table_of(self.place.store)

    def kinds(self, candidate_id: str = P) -> Sequence[str]:
        """What was decided about somebody."""
        return decisions_of(self.place.objects, candidate_id)


def _three_people(folder: Path) -> None:
    there = People(place_in(folder), _people_of(folder))
    pl.DataFrame({KEY_COLUMN: EVERYBODY}).write_parquet(there.dataset.source)
    there.backfill()
    there.stage()


def _people_of(folder: Path) -> DatasetDeclaration:
    return DatasetDeclaration(name="people", source=str(folder / "people.parquet"), key_column=KEY_COLUMN)


@pytest.fixture
def three(tmp_path: Path, prepared: Prepared) -> People:
    """Three people, registered without a row, and staged."""
    prepared(_three_people, tmp_path)
    there = People(place_in(tmp_path), _people_of(tmp_path))
    there.place.store.register(there.dataset)
    return there
