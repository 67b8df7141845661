import datetime as dt
import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subject_pipeline.candidates.candidates import candidates
from subject_pipeline.errors import ManifestError
from subject_pipeline.manifests.frames import (
    MANIFEST_FIELDS,
    TABLE_SCHEMA,
    new_rows,
    to_documents,
    to_json_lines,
    to_manifest,
    to_rows,
)
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest, new_manifest
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline_tests.helpers.lives import LIVES, only_times
from subject_pipeline_tests.helpers.strategies import manifests, text, times

LAYOUT = ChunkLayout(64)
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)


def _manifest(**changes: Any) -> SubjectManifest:
    manifest = new_manifest(
        candidate_id="WORKER-1",
        dataset=DatasetReference(name="workers", key_column="worker_id", key_value="1"),
        safe_views=("public",),
        chunk="chunk-00",
        now=NOW,
    )
    return SubjectManifest.parse(manifest.as_json() | changes)


@pytest.mark.long
@settings(max_examples=settings().max_examples * 60 // 100)
@given(st.lists(manifests(), max_size=3))
def test_a_manifest_survives_the_table(written: list[SubjectManifest]) -> None:
    """Manifest to row to manifest is identity, with unknown fields at every depth, and so is its JSON by column."""
    rows = to_rows(written, LAYOUT)
    assert rows.schema == TABLE_SCHEMA
    assert [to_manifest(row) for row in rows.iter_rows(named=True)] == written
    assert [to_manifest(row).to_json() for row in rows.iter_rows(named=True)] == [item.to_json() for item in written]
    assert to_json_lines(rows) == [item.to_json() for item in written]


@pytest.mark.long
@given(st.lists(manifests() | LIVES | LIVES.map(only_times), max_size=3, unique_by=lambda one: one.candidate_id))
def test_documents_by_column_are_those_of_each_manifest(written: list[SubjectManifest]) -> None:
    """The same values in the same order, whatever decisions or a newer writer added."""
    found = to_documents(to_rows(written, LAYOUT))
    assert json.dumps(found) == json.dumps({one.candidate_id: one.as_json() for one in written})


@given(st.lists(manifests(), max_size=2))
def test_a_row_lies_where_its_storage_key_says(written: list[SubjectManifest]) -> None:
    """A row's storage key and chunk follow from its id, in the order of the manifests."""
    rows = to_rows(written, LAYOUT)
    keys = [storage_key(item.candidate_id) for item in written]
    assert rows["storage_key"].to_list() == keys
    assert rows["chunk"].to_list() == [LAYOUT.chunk_of(key) for key in keys]


@given(st.lists(text.filter(bool), max_size=5), st.lists(text, max_size=2), text, text, times)
def test_rows_built_by_column_are_those_of_new_manifests(
    keys: list[str], views: list[str], dataset: str, key_column: str, now: dt.datetime
) -> None:
    """New rows are to the last field the rows of the manifests that `new_manifest` makes one by one."""
    source = pl.DataFrame({"row": range(len(keys)), "key": keys}, schema={"row": pl.UInt64, "key": pl.String})
    frame = candidates(source, "P-", LAYOUT)
    rows = new_rows(frame, layout=LAYOUT, dataset=dataset, key_column=key_column, safe_views=views, now=now)
    expected = [
        new_manifest(
            candidate_id=f"P-{key}",
            dataset=DatasetReference(name=dataset, key_column=key_column, key_value=key),
            safe_views=tuple(views),
            chunk=LAYOUT.chunk_of(storage_key(f"P-{key}")),
            now=now,
        )
        for key in keys
    ]
    assert rows.schema == TABLE_SCHEMA
    assert rows.equals(to_rows(expected, LAYOUT))
    assert to_json_lines(rows) == [item.to_json() for item in expected]


def test_the_columns_are_the_fields_between_place_and_extra() -> None:
    """A row has chunk and storage key, the manifest's fields in the order of its JSON, then extra."""
    assert TABLE_SCHEMA.names() == ["chunk", "storage_key", *_manifest().as_json(), "extra"]
    assert list(MANIFEST_FIELDS) == list(_manifest().as_json())


def test_extra_is_null_where_nothing_is_unknown() -> None:
    """A manifest of known fields alone leaves the extra column null."""
    assert to_rows([_manifest()], LAYOUT)["extra"].to_list() == [None]


def test_extra_holds_unknown_fields_at_their_depth() -> None:
    """Unknown fields stand in the extra column as JSON, nested as they were, and nothing known stands there."""
    document = _manifest(newer=1).as_json()
    document["consent"]["biometric"]["device"] = "é"
    document["datasets"] = [document["datasets"][0], {**document["datasets"][0], "rows": 2}]
    rows = to_rows([SubjectManifest.parse(document)], LAYOUT)
    assert json.loads(rows["extra"][0]) == {
        "consent": {"biometric": {"device": "é"}},
        "datasets": [{}, {"rows": 2}],
        "newer": 1,
    }


@pytest.mark.parametrize("name", ["extra", "chunk", "storage_key"])
def test_an_unknown_field_may_be_named_like_a_column(name: str) -> None:
    """A newer writer's field with the name of one of our columns is kept, and does not move the row."""
    manifest = _manifest(**{name: "theirs"})
    rows = to_rows([manifest], LAYOUT)
    assert rows["storage_key"].to_list() == ["WORKER-1"]
    assert rows["chunk"].to_list() == [LAYOUT.chunk_of("WORKER-1")]
    assert to_json_lines(rows) == [manifest.to_json()]


def test_a_time_of_the_first_millennium_is_the_same_by_column() -> None:
    """The two ways to write a manifest agree on years of less than four digits."""
    manifest = _manifest(created_at="0999-01-01T00:00:00Z")
    assert to_json_lines(to_rows([manifest], LAYOUT)) == [manifest.to_json()]


def test_no_manifests_make_no_rows() -> None:
    """Nothing in, nothing out, with the table's schema."""
    rows = to_rows([], LAYOUT)
    assert rows.schema == TABLE_SCHEMA
    assert to_json_lines(rows) == []


@pytest.mark.parametrize(
    ("column", "value"), [("candidate_id", ""), ("candidate_id", None), ("created_at", None), ("consent", None)]
)
def test_a_row_that_is_no_manifest_is_our_own_error(column: str, value: object) -> None:
    """What another engine wrote into the table is checked when it is read."""
    row = to_rows([_manifest()], LAYOUT).row(0, named=True) | {column: value}
    with pytest.raises(ManifestError, match=column):
        to_manifest(row)


@pytest.mark.parametrize("extra", ["{", "[]", "1", '{"datasets":[{}, {}]}', '{"status":"x"}', '{"consent":1}'])
def test_damaged_extra_is_our_own_error(extra: str) -> None:
    """An extra column that is not JSON, or does not fit the row, is our own error."""
    row = to_rows([_manifest()], LAYOUT).row(0, named=True) | {"extra": extra}
    with pytest.raises(ManifestError):
        to_manifest(row)
