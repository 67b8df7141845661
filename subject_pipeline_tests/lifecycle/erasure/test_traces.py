"""Traces: every form in which an object can hold an id is found, and what merely looks like one is not."""

import gzip
import io
import json

import polars as pl
import pyarrow as pa
import pytest

from subject_pipeline.lifecycle.erasure.traces import look
from subject_pipeline.objects.protocol import ObjectStore

ID = "PERSON-1"


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


HOLDS = {
    "a column": _parquet(pl.DataFrame({"candidate_id": [ID, "x"]})),
    "a key value": _parquet(pl.DataFrame({"datasets": [[{"key_value": ID}]]})),
    "a column of other texts": _parquet(pl.DataFrame({"extra": [json.dumps({"holds": [{"reason": f"with {ID}"}]})]})),
    "bytes": _parquet(pl.DataFrame({"raw": [f"<{ID}>".encode()]})),
    "JSON": json.dumps({"a": [{"b": ID}]}).encode(),
    "a name of JSON": json.dumps({ID: 1}).encode(),
    "escaped JSON": b'{"a":"\\u0050ERSON-1"}',
    "JSON in JSON": json.dumps({"a": json.dumps({"b": ID})}).encode(),
    "a JSON line": b'{"a":1}\n{"a":"PERSON\\u002d1"}\n',
    "a page": b"<p>P&#69;RSON-1</p>",
    "a CSV": f'x,"{ID}"\n'.encode(),
    "a text that is not UTF-8": b"\xff\xfe" + ID.encode() + b"\x00",
    "gzip": gzip.compress(json.dumps([ID]).encode()),
    "zstd": bytes(pa.compress(ID.encode(), codec="zstd", asbytes=True)),
}


@pytest.mark.parametrize("form", HOLDS)
def test_every_form_is_found(objects: ObjectStore, form: str) -> None:
    """Where it may not remain, the person stays uncertified; where it may, the object is named."""
    objects.replace("catalog/one", HOLDS[form])
    assert look(objects, [ID]).found == {ID: {"catalog/one"}}
    assert look(objects, [ID]).remaining(ID) is None
    objects.delete("catalog/one")
    objects.replace("inbox/one", HOLDS[form])
    assert look(objects, [ID, "PERSON-2"]).remaining(ID) == ["inbox/one"]
    assert look(objects, [ID, "PERSON-2"]).remaining("PERSON-2") == []


@pytest.mark.parametrize(
    ("candidate_id", "data"),
    [
        (ID, _parquet(pl.DataFrame({"candidate_id": ["PERSON-10", "APERSON-1"], "storage_key": [ID, "x"]}))),
        (ID, b'{"a":"PERSON-10"}\nPERSON-1_b\n'),
        ("17", b'{"numRecords":17,"at":"2026-11-26T21:17:00.000001Z","said":"{\\"n\\":17}"}'),
        ("17", b"subject-pipeline/ab\n17\nab+17/=\n"),
        ("100001", b'{"version":100001}\nx 100001\n'),
        ("7", bytes(range(256)) * 4),
    ],
)
def test_what_only_looks_like_an_id_is_none(objects: ObjectStore, candidate_id: str, data: bytes) -> None:
    """Other ids, numbers, times and random bytes: else no certificate would ever be issued for that person."""
    objects.replace("catalog/one", data)
    assert look(objects, [candidate_id]).remaining(candidate_id) == []


def test_a_value_that_is_a_short_id_is_found(objects: ObjectStore) -> None:
    """A whole value counts however short the id is."""
    objects.replace("catalog/one", b'{"a":["17"]}')
    objects.replace("staging/x/one.parquet", _parquet(pl.DataFrame({"candidate_id": ["18"]})))
    assert look(objects, ["17", "18", "19"]).found == {"17": {"catalog/one"}, "18": {"staging/x/one.parquet"}}


def test_the_logs_segments_are_not_looked_into_and_nothing_else_is_left_out(objects: ObjectStore) -> None:
    """The id stays in the log by duty; an object that cannot be decoded may hold anybody's."""
    objects.replace("audit/chunk-0/000000000000.jsonl", ID.encode())
    assert look(objects, [ID]).remaining(ID) == []
    objects.replace("inbox/broken.parquet", b"PAR1 and no more")
    assert look(objects, [ID]).remaining(ID) == ["inbox/broken.parquet"]
    objects.replace("subjects/broken.parquet", b"PAR1 and no more")
    traces = look(objects, [ID])
    assert traces.remaining(ID) is None
    assert traces.blocking == ("subjects/broken.parquet",)


def test_the_name_of_an_object_counts_too(objects: ObjectStore) -> None:
    """A file in the inbox that is named by an id."""
    objects.replace(f"inbox/{ID}.jsonl", b"{}")
    assert look(objects, [ID]).remaining(ID) == [f"inbox/{ID}.jsonl"]
