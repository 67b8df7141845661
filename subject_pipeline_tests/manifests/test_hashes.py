import datetime as dt
import hashlib
import json
import math
from typing import Any

import polars as pl
import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.manifests.frames import TABLE_SCHEMA, new_rows, to_manifest, to_rows
from subject_pipeline.manifests.hashes import manifest_hash, manifest_hashes
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline_tests.helpers.lives import LIVES, only_times
from subject_pipeline_tests.helpers.strategies import manifests

LAYOUT = ChunkLayout(4)
LARGEST = 2**53 - 1
EVERY_TRICK = "".join(map(chr, range(0xA1))) + "\u2028\u2029\ud7ff\ue000\ufb33\ufeff\uffff\U00010000\U0010ffff"


def manifest(**fields: Any) -> SubjectManifest:
    """A manifest with some fields of one's own."""
    base = {
        "candidate_id": "WORKER-1",
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-02T00:00:00.5Z",
        "retention": {"general_pii_until": "2030-01-01T00:00:00Z"},
    }
    return SubjectManifest.parse(base | fields)


def dataset(name: str = "workers") -> dict[str, str]:
    """A reference to a dataset."""
    return {"name": name, "key_column": "worker_id", "key_value": "1"}


def _holds_large(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_large, value.values()))
    if isinstance(value, list):
        return any(map(_holds_large, value))
    return type(value) is int and abs(value) > LARGEST


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_hash_of_one_manifest_is_known() -> None:
    """The canonical JSON is spelt out, with nulls, every default, and keys in the order of their names."""
    text = (
        '{"audit_log_chain_root":"","audit_log_path":"","candidate_id":"WÖRKER-1","consent":{"biometric":{'
        '"retention_until":null,"status":"never_collected"},"general_pii":{"given_at":null,"status":'
        '"pending_backfill_review","version":"","withdrawn_at":null}},"created_at":"2026-01-01T00:00:00.000000Z",'
        '"datasets":[{"key_column":"worker_id","key_value":"1","name":"workers"}],"retention":{"general_pii_until":'
        '"2030-01-01T00:00:00.000000Z","policy":"4_year_default"},"safe_views":[],"schema":"subject_manifest.v1",'
        '"status":"active","updated_at":"2026-01-02T00:00:00.500000Z","vertical":"unknown"}'
    )
    one = manifest(candidate_id="WÖRKER-1", datasets=[dataset()])
    assert manifest_hash(one) == _sha256(text.encode())


@pytest.mark.long
@given(st.lists(manifests() | LIVES | LIVES.map(only_times), max_size=5))
@example([manifest(datasets=[dataset()])])
@example([manifest(candidate_id=EVERY_TRICK, status=EVERY_TRICK, safe_views=[EVERY_TRICK, ""])])
@example([manifest(created_at="0001-01-01T00:00:00Z", updated_at="9999-12-31T23:59:59.999999Z")])
@example([manifest(newer={"é\ue000": 1.5, "é\U0001f600": [None, True, 1e21, -0.0]}), manifest()])
def test_hashes_by_column_are_those_of_each_manifest(found: list[SubjectManifest]) -> None:
    """Whatever the manifests, and in their order: built by column as built one by one, as RFC 8785's own library."""
    rows = to_rows(found, LAYOUT)
    hashes = manifest_hashes(rows)

    assert hashes == [manifest_hash(to_manifest(row)) for row in rows.iter_rows(named=True)]
    for one, hashed in zip(found, hashes, strict=True):
        document = json.loads(one.to_json())
        if not _holds_large(document):
            assert hashed == _sha256(rfc8785.dumps(document))


@pytest.mark.long
@given(st.lists(manifests().map(lambda one: one.model_copy(update={"datasets": ()})), max_size=5))
@example([manifest(candidate_id=EVERY_TRICK, status=EVERY_TRICK, safe_views=[EVERY_TRICK, ""])])
@example([manifest(created_at="0001-01-01T00:00:00Z", updated_at="9999-12-31T23:59:59.999999Z")])
def test_hashes_of_manifests_without_a_dataset_are_their_own(found: list[SubjectManifest]) -> None:
    """The same, of manifests that no dataset refers to."""
    rows = to_rows(found, LAYOUT)
    assert manifest_hashes(rows) == [manifest_hash(to_manifest(row)) for row in rows.iter_rows(named=True)]


def test_new_rows_have_the_hash_of_their_manifests() -> None:
    """What a backfill writes is hashed by column as the registry hashes it when it changes it."""
    ids = [f"WORKER/{at}" for at in range(9)]
    candidates = pl.DataFrame(
        {
            "row": range(9),
            "chunk_index": [at % 4 for at in range(9)],
            "candidate_id": ids,
            "storage_key": [one.replace("/", "_") for one in ids],
            "key_value": [f"{at}" for at in range(9)],
        }
    )
    rows = new_rows(
        candidates,
        layout=LAYOUT,
        dataset="workers",
        key_column="id",
        safe_views=["a", "b"],
        now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )
    assert manifest_hashes(rows) == [manifest_hash(to_manifest(row)) for row in rows.iter_rows(named=True)]


def test_several_datasets_keep_their_order() -> None:
    """The order of a list counts: the same references the other way round are another manifest."""
    one, other = (manifest(datasets=[dataset(name) for name in names]) for names in ("ab", "ba"))
    assert manifest_hash(one) != manifest_hash(other)
    hashes = manifest_hashes(to_rows([one, other], LAYOUT))
    assert hashes[0] != hashes[1]


def test_no_rows_have_no_hashes() -> None:
    """An empty chunk is hashed to nothing."""
    assert manifest_hashes(pl.DataFrame(schema=TABLE_SCHEMA)) == []


_CHANGES: dict[str, pl.Expr] = {
    "candidate_id": pl.lit("WORKER-2"),
    "created_at": pl.col("created_at").dt.offset_by("1us"),
    "updated_at": pl.col("updated_at").dt.offset_by("1us"),
    "schema": pl.lit("subject_manifest.v2"),
    "status": pl.lit("erased"),
    "vertical": pl.lit("health"),
    "audit_log_path": pl.lit("audit/chunk-9"),
    "audit_log_chain_root": pl.lit("ab"),
    "safe_views": pl.lit(pl.Series([["v"]])),
    "datasets": pl.lit(pl.Series([[]], dtype=TABLE_SCHEMA["datasets"])),
    "extra": pl.lit('{"newer":1}'),
    "consent": pl.col("consent").struct.with_fields(
        pl.field("biometric").struct.with_fields(pl.lit("collected").alias("status"))
    ),
    "retention": pl.col("retention").struct.with_fields(pl.lit("other").alias("policy")),
}


@pytest.mark.parametrize(("name", "value"), _CHANGES.items(), ids=_CHANGES)
def test_any_field_changed_changes_the_hash(name: str, value: pl.Expr) -> None:
    """A manifest changed in the table in whatever column has another hash, by column and on its own."""
    rows = to_rows([manifest(datasets=[dataset()])], LAYOUT)
    changed = rows.with_columns(value.cast(TABLE_SCHEMA[name]).alias(name))

    assert manifest_hashes(changed) != manifest_hashes(rows)
    hashes = [manifest_hash(to_manifest(one.row(0, named=True))) for one in (rows, changed)]
    assert hashes[0] != hashes[1]


def test_numbers_beyond_i_json_are_hashed_none_the_less() -> None:
    """A newer writer's large number has a hash of its own, the same by column, told from its neighbour's."""
    found = [manifest(newer=2**60 + at) for at in range(2)]
    hashes = manifest_hashes(to_rows(found, LAYOUT))

    assert hashes == [manifest_hash(one) for one in found]
    assert len(set(hashes)) == 2


_FINE = manifest()
_DAMAGED = {
    "no JSON": "{",
    "an array": "[1]",
    "null": "null",
    "a text for a part": '{"consent":"x"}',
    "null for a part": '{"consent":{"general_pii":null}}',
    "more datasets than there are": '{"datasets":[{"a":1}]}',
    "a part for a text": '{"candidate_id":{"x":1}}',
    "a number too long": '{"a":' + "9" * 5_000 + "}",
    "a lone surrogate": '{"a":"\\ud800"}',
    "NaN": '{"a":NaN}',
}


@pytest.mark.parametrize(
    "extra",
    [
        *(pytest.param(extra, id=name) for name, extra in _DAMAGED.items()),
        pytest.param('{"a":' + "[" * 300 + "]" * 300 + "}", id="300 levels"),
        pytest.param('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", id="100,000 levels"),
    ],
)
def test_damaged_fields_have_a_hash_that_no_manifest_has(extra: str) -> None:
    """What was damaged behind the registry's back is hashed, to something else, and the rows beside it to their own."""
    rows = to_rows([_FINE] * 3, LAYOUT)
    damaged = rows.with_columns(pl.Series("extra", [None, extra, None], dtype=pl.String))
    first, found, last = manifest_hashes(damaged)

    assert first == last == manifest_hash(_FINE)
    assert len(found) == 64
    assert found != first


@pytest.mark.parametrize("name", ["candidate_id", "created_at", "consent", "retention", "datasets", "safe_views"])
@pytest.mark.parametrize("extra", [None, '{"a":1}'])
def test_a_null_where_none_can_be_has_a_hash_of_its_own(name: str, extra: str | None) -> None:
    """A column emptied behind the registry's back is no manifest, and hashed to none's."""
    rows = to_rows([_FINE], LAYOUT)
    damaged = rows.with_columns(pl.lit(None, TABLE_SCHEMA[name]).alias(name), pl.lit(extra, pl.String).alias("extra"))
    (found,) = manifest_hashes(damaged)

    assert len(found) == 64
    assert found not in {manifest_hash(_FINE), manifest_hash(manifest(a=1))}


@pytest.mark.parametrize(
    "extra",
    [None, '{"a":1}'],
)
def test_a_time_beyond_the_calendar_has_a_hash_of_its_own(extra: str | None) -> None:
    """A time that the table can hold and no calendar has was not written by us, and raises nothing."""
    beyond = pl.lit(2**62).cast(TABLE_SCHEMA["created_at"]).alias("created_at")
    rows = to_rows([_FINE], LAYOUT).with_columns(beyond, pl.lit(extra, pl.String).alias("extra"))
    (found,) = manifest_hashes(rows)

    assert found not in {manifest_hash(_FINE), manifest_hash(manifest(a=1))}


def test_what_is_not_finite_is_hashed() -> None:
    """A float that JSON cannot hold, which a newer writer's library may let through, does not stop the hash."""
    assert len(manifest_hash(_FINE.model_copy(update={"newer": math.nan}))) == 64
