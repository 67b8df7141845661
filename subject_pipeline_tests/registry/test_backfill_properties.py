import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore

_ids = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="A/._-ß", max_size=3),  # many of these collide
    st.integers(190, 210).map("L".__mul__),
)
_sources = st.lists(_ids, max_size=30)


def _declaration(keys: list[str], folder: str, name: str, prefix: str = "") -> DatasetDeclaration:
    path = Path(folder, f"{name}.parquet")
    pl.DataFrame({"k": keys}, schema={"k": pl.String}).write_parquet(path)
    return DatasetDeclaration(name=name, source=str(path), key_column="k", candidate_id_prefix=prefix)


@pytest.mark.long
@settings(max_examples=max(8, settings().max_examples * 15 // 100))
@given(first=_sources, second=_sources, prefix=st.sampled_from(["", "P/"]), chunks=st.sampled_from([1, 3, 64]))
def test_whatever_the_ids_are_the_counts_tell_what_is_stored(
    first: list[str], second: list[str], prefix: str, chunks: int
) -> None:
    """Nobody is lost, doubled or overwritten, every count adds up, and a re-run writes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        store = SubjectStore.at(f"{folder}/store", wanted_chunks=chunks)
        owners: dict[str, str] = {}
        for name, keys in (("first", first), ("second", second)):
            declaration = _declaration(keys, folder, name, prefix)
            there = dict(owners)

            report = backfill(store, declaration)

            ids = dict.fromkeys(prefix + key for key in keys)
            failed = {failure.candidate_id for failure in report.failures}
            done = [candidate for candidate in ids if candidate not in failed]
            counts = report.counts
            assert counts.attempted == counts.inserted + counts.skipped + counts.failed == len(ids)
            assert report.rows_scanned == len(keys) == counts.attempted + counts.duplicates
            assert len(report.failures) == len(failed) == counts.failed
            owners |= {storage_key(candidate): candidate for candidate in done}
            assert len(owners) == len(there) + counts.inserted == report.subjects_total
            assert there.items() <= owners.items()

            again = backfill(store, declaration)

            assert again.counts.inserted == 0
            assert again.counts.skipped == counts.inserted + counts.skipped
            assert {failure.candidate_id for failure in again.failures} == failed

        registry = SubjectRegistry(store)
        for candidate in owners.values():
            assert registry.get(candidate).candidate_id == candidate
        snapshot = ManifestTable(store).snapshot()
        stored = [] if snapshot is None else snapshot.rows()["storage_key"].to_list()
        assert sorted(stored) == sorted(owners)
