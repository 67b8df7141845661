"""Anyone who is erased by what the log says is not registered again by any path, until readmitted."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.candidates.staged_parts import read_record
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.errors import IncompleteError, ManifestError
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline.registry.suppressing import Suppression
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, assert_sound, holding, manifest
from subject_pipeline_tests.helpers.recorded import plug_pulled
from subject_pipeline_tests.lifecycle.erasure.conftest import ELSEWHERE, OTHER, P, People


def _staged_files(three: People) -> list[str]:
    return [path for path in holding(three.place.folder, P.encode()) if "/staging/" in path]


@pytest.mark.long
@pytest.mark.parametrize("index", ["kept", "deleted"])
def test_a_backfill_leaves_whoever_is_erased_out_and_counts_the_rows(three: People, index: str) -> None:
    """Also without the audit index, which is made again from the log; nothing of them is staged meanwhile."""
    three.erase(P)
    if index == "deleted":
        shutil.rmtree(three.place.folder / "audit_index", ignore_errors=True)

    report = three.backfill()

    counts = report.counts
    assert (counts.inserted, counts.skipped, counts.failed, counts.suppressed) == (0, 2, 0, 1)
    assert report.rows_scanned == counts.attempted + counts.duplicates + counts.suppressed
    assert three.table().keys() == {OTHER, ELSEWHERE}
    forecast = three.backfill(dry_run=True)
    assert forecast.forecast == counts
    assert forecast.counts.suppressed == 1
    assert three.kinds()[-1] == "erased"
    assert_sound(three.place)


def test_a_staging_leaves_them_out(three: People) -> None:
    """The nightly staging does not write the id in clear again."""
    three.erase(P)
    evidence = three.place.evidence()
    three.stage(keep=Suppression.of(three.place.store, evidence).kept)

    assert _staged_files(three) == []
    record = read_record(three.place.objects, three.dataset.name)
    assert (record.rows_scanned, record.suppressed, sum(group.rows for group in record.groups)) == (3, 1, 2)


def test_a_registration_looks_once_more(three: People) -> None:
    """A staging that had looked before the erasure is registered without the person, and `compact` clears it."""
    three.erase(P)
    three.stage()  # as one does that did not know yet
    assert _staged_files(three)

    done = register_dataset(
        three.place.store,
        three.dataset.name,
        limit=None,
        chunks=LAYOUT.names,
        evidence=three.place.evidence(),
    )

    counts = done.counts
    assert (counts.inserted, counts.skipped, counts.failed, counts.suppressed) == (0, 2, 0, 1)
    assert all(
        one.rows == one.counts.attempted + one.counts.duplicates + one.counts.suppressed for one in done.outcomes
    )
    compact(three.place.store, three.place.evidence())
    assert _staged_files(three) == []


def test_whoever_is_readmitted_is_registered_again_by_a_row(three: People) -> None:
    """The next registration announces itself; who was only deleted needs no readmission."""
    three.erase(P)
    assert three.decide(Kind.READMITTED, reason="came back") == "applied"

    assert three.backfill().counts.inserted == 1
    assert three.kinds() == ["erasure_ordered", "erased", "readmitted", "registered"]
    assert P in three.table()
    assert_sound(three.place)

    three.place.registry().delete(OTHER)
    assert three.backfill().counts.inserted == 1
    assert three.erase(P).erased == 1
    assert three.backfill().counts.suppressed == 1


def test_whoever_only_shares_a_storage_key_is_not_suppressed(three: People) -> None:
    """An erased person's storage key is free: another id may have it."""
    three.erase(P)
    twin = P.replace("-", "/")
    keep = Suppression.of(three.place.store, three.place.evidence()).kept
    rows = candidates(
        pl.DataFrame({"row": [0, 1], "key": [P, twin]}, schema={"row": pl.UInt64, "key": pl.String}), "", LAYOUT
    )
    assert keep(rows)["candidate_id"].to_list() == [twin]


@pytest.mark.long
def test_put_and_import_refuse_whoever_is_erased_in_words(three: People, tmp_path: Path) -> None:
    """Also while the table still has the row, since the eraser died; the document is a failure that names the id."""
    three.decide(Kind.ERASURE_ORDERED)
    with plug_pulled(), pytest.raises(IncompleteError):
        three.erase(P)
    path = tmp_path / "one.json"
    path.write_text(manifest(P, vertical="general").to_json())

    report = import_manifests(three.place.store, path, evidence=three.place.evidence())

    assert (report.failed, report.inserted) == (1, 0)
    assert "readmit" in report.failures[0].reason
    with pytest.raises(ManifestError, match="readmit"):
        three.place.registry().put(manifest(P))
    assert three.kinds()[-1] == "erased"
    assert three.erase(P).already == [P]
    assert P not in three.table()
