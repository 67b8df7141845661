import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import MemoryStore

from subject_pipeline.ingestion.event_files import read_events
from subject_pipeline.ingestion.line_files import MAX_LINE
from subject_pipeline.objects.remote import RemoteObjects


def test_an_objects_lines_are_those_of_the_same_file() -> None:
    """Lines, long ones and a last one without an end, come from a bucket as from a disk, across its buffers."""
    data = (
        b'{"n": 1}\n'
        b'{"n": "' + b"x" * (MAX_LINE + 10) + b'"}\n' + (b'{"n": "' + b"y" * 900 + b'"}\n') * 7_000 + b'{"n": 3}'
    )
    objects = RemoteObjects(MemoryStore())
    objects.create("inbox/e.jsonl", data)
    with objects.open("inbox/e.jsonl") as remote:
        found = [(line.number, line.raw, line.value, line.problem) for line in read_events("e.jsonl", remote)]
    local = [(line.number, line.raw, line.value, line.problem) for line in read_events("e.jsonl", io.BytesIO(data))]
    assert found == local
    assert len(found) == 7_003
    assert found[1][3].startswith("longer than")


def test_an_object_is_read_whole_and_from_anywhere() -> None:
    """Reading to the end, seeking, telling and an empty object, as a file does."""
    objects = RemoteObjects(MemoryStore())
    objects.create("a", b"0123456789")
    objects.create("b", b"")
    with objects.open("a") as file:
        assert file.read(4) == b"0123"
        assert file.tell() == 4
        assert file.read() == b"456789"
        assert file.seek(-3, io.SEEK_END) == 7
        assert file.readline() == b"789"
        assert file.read() == b""
    with objects.open("b") as file:
        assert file.readline() == b""
        assert file.read() == b""


@pytest.mark.long
def test_parquet_files_are_read_from_a_bucket() -> None:
    """Rows come in order, with their place."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"candidate_id": ["A", "B"]}), sink)
    objects = RemoteObjects(MemoryStore())
    objects.create("inbox/e.parquet", sink.getvalue())
    with objects.open("inbox/e.parquet") as file:
        assert [line.value["candidate_id"] for line in read_events("e.parquet", file)] == ["A", "B"]
