"""What a verification's checks remember of partitions that a run did not look at."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import StoreError
from subject_pipeline.orchestration.assets import audit
from subject_pipeline.orchestration.history.partitions import PastPartitions
from subject_pipeline.orchestration.verified_chunks import CHECKS
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.verifying import (
    LAYOUT,
    NAMES,
    SUBJECTS,
    VERIFICATION,
    Verifying,
    meanwhile,
    subject_in,
    verifying,
)

ONE, TWO, *_ = NAMES
REGISTERED = "every_events_subject_is_registered"
SUMS = {"verified_chains", "intact", "broken", "unreadable", "verified_rows", "rows_success", "mode", "checkpoint"}


@pytest.fixture
def bench(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifying]:
    """Four chunks, all sound."""
    with verifying(tmp_path, prepared, monkeypatch) as made:
        yield made


def stranger_in(chunk: str) -> str:
    """A subject of a chunk that has no manifest."""
    return next(one for number in range(100) if LAYOUT.chunk_of(one := f"stranger-{number}") == chunk)


def recorded(bench: Verifying) -> dict[str, dict[str, object]]:
    """The last metadata of each partition."""
    events = bench.instance.fetch_materializations(VERIFICATION, limit=100).records
    found: dict[str, dict[str, object]] = {}
    for record in events:
        made = record.event_log_entry.asset_materialization
        assert made is not None
        found.setdefault(str(made.partition), {name: value.value for name, value in made.metadata.items()})
    return found


@pytest.mark.long
def test_an_incremental_verification_does_not_forget_who_is_not_registered(bench: Verifying) -> None:
    """Neither of a chunk that it did not read, nor of one of which it read the end; a full one looks again."""
    stranger = stranger_in(ONE)
    bench.append(stranger, "e-1")
    assert not bench.verify()[REGISTERED].passed
    bench.checkpoint()
    unread = bench.verify(mode="incremental")[REGISTERED]
    assert not unread.passed
    assert f"still red from earlier runs: {ONE}" in str(unread.description)
    bench.append(subject_in(ONE), "e-2")
    assert not bench.verify(mode="incremental")[REGISTERED].passed
    bench.register(stranger)
    assert bench.verify()[REGISTERED].passed
    bench.checkpoint()
    assert bench.verify(mode="incremental")[REGISTERED].passed


@pytest.mark.long
def test_an_incremental_verification_says_over_what_it_holds(bench: Verifying) -> None:
    """Each check counts the partitions that were read whole; of the rest it says since when it counts."""
    bench.verify()
    bench.checkpoint()
    bench.append(subject_in(ONE), "e-2")
    found = bench.verify(mode="incremental")
    for name in CHECKS:
        assert "0 of 4 partitions were read whole" in str(found[name].description)
    sums = found["chains_intact"].metadata
    assert (sums["partitions_read_whole"].value, sums["partitions_not_read"].value) == (0, 3)
    assert "incremental" not in str(bench.verify()["chains_intact"].description)


@pytest.mark.long
def test_a_run_that_did_not_look_does_not_take_back_what_another_found_meanwhile(
    bench: Verifying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incremental run that began before a full one found a chunk broken, and ends after it, leaves it red."""
    bench.verify()
    bench.checkpoint()

    def found_broken() -> None:
        bench.tamper(ONE)
        assert not bench.verify()["chains_intact"].passed

    meanwhile(monkeypatch, audit, "verify", found_broken)
    assert not bench.verify(mode="incremental")["chains_intact"].passed
    assert PastPartitions.of(bench.instance, VERIFICATION).red("problems/chains_intact") == [ONE]


@pytest.mark.long
def test_of_two_verifications_that_end_at_once_none_is_lost(bench: Verifying, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that is shown names both red partitions, though neither run saw the other's when it judged."""
    for chunk in (ONE, TWO):
        bench.tamper(chunk)
    meanwhile(monkeypatch, audit, "verify", lambda: bench.verify(TWO))
    bench.verify(ONE)
    shown = bench.shown("chains_intact")
    assert (shown.passed, shown.metadata["red_partitions"].value) == (False, f"{ONE}, {TWO}")


@pytest.mark.long
def test_a_chain_that_lost_what_was_anchored_stays_red_under_both_of_its_checks(bench: Verifying) -> None:
    """A cut chain is red as a chain and against the checkpoint; a run elsewhere forgets neither."""
    bench.append(subject_in(ONE), "e-2")
    bench.verify()
    bench.checkpoint()
    segments = sorted(bench.segment_of(ONE).parent.iterdir())
    segments[-1].unlink()
    both = {"chains_intact", "log_matches_last_checkpoint"}
    assert {name for name, one in bench.verify().items() if not one.passed} == both
    assert {name for name, one in bench.verify(TWO).items() if not one.passed} == both


@pytest.mark.long
def test_a_runs_sums_stand_on_its_check_and_a_partition_has_its_own_numbers(bench: Verifying) -> None:
    """No partition carries what a run over many added up, and none an empty table."""
    found = bench.verify()
    sums = found["chains_intact"].metadata
    assert sums.keys() >= SUMS
    assert (sums["verified_chains"].value, sums["verified_rows"].value) == (len(SUBJECTS), len(SUBJECTS))
    for metadata in recorded(bench).values():
        assert not metadata.keys() & {*SUMS, "broken_chains", "seconds"}
    assert sum(int(str(one["chains"])) for one in recorded(bench).values()) == len(SUBJECTS)
    events = bench.instance.fetch_materializations(VERIFICATION, limit=100).records
    made = [record.event_log_entry.asset_materialization for record in events]
    assert not [one for one in made if one and any(isinstance(v, dg.TableMetadataValue) for v in one.metadata.values())]


@pytest.mark.long
def test_a_partition_that_could_not_be_read_keeps_what_was_found_in_it(
    bench: Verifying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full verification that the store refused a chunk's log does not call its strangers registered."""
    bench.append(stranger_in(ONE), "e-1")
    bench.verify()
    real = AuditSegments.get

    def refused(self: AuditSegments, chunk: str, number: int) -> bytes | None:
        if chunk == ONE:
            raise StoreError("the store refused to give it")
        return real(self, chunk, number)

    with monkeypatch.context() as patched:
        patched.setattr(AuditSegments, "get", refused)
        found = bench.verify()
    assert {name for name, one in found.items() if not one.passed} == {REGISTERED, "nothing_unreadable"}
    assert {name for name, one in bench.verify().items() if not one.passed} == {REGISTERED}
