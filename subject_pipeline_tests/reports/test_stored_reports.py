import datetime as dt
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from obstore.store import MemoryStore

from subject_pipeline.errors import StoreError
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.reports.stored_reports import write_report

TIME = dt.datetime(2026, 11, 24, 4, 15, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=1)))
FILES = {"report.html": b"<p>", "numbers.csv": b"1"}


@pytest.fixture
def objects() -> ObjectStore:
    """A bucket in memory."""
    return RemoteObjects(MemoryStore())


def test_a_report_lies_below_its_time(objects: ObjectStore) -> None:
    """Its name is the second in UTC, and its contents name each file's size and hash."""
    stored = write_report(objects, TIME, {"store": "here"}, FILES)
    assert stored.name == "20261124T031500Z"
    assert list(stored.keys) == [item.key for item in objects.list("reports/")]
    assert objects.get("reports/20261124T031500Z/report.html") == b"<p>"
    contents = json.loads(objects.get(stored.key("contents.json")) or b"")
    assert contents["store"] == "here"
    assert contents["files"] == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in FILES.items()
    }


def test_a_second_report_of_a_second_has_another_name(objects: ObjectStore) -> None:
    """Even the very same one; the first stays as it was."""
    names = [write_report(objects, TIME, {}, {"report.html": data}).name for data in (b"1", b"1", b"2")]
    assert names == ["20261124T031500Z", "20261124T031500Z-2", "20261124T031500Z-3"]
    assert [objects.get(f"reports/{name}/report.html") for name in names] == [b"1", b"1", b"2"]


def test_sixteen_writers_of_one_second_do_not_mix(objects: ObjectStore) -> None:
    """Each has a folder of its own with all of its files."""

    def write(number: int) -> str:
        data = str(number).encode()
        return write_report(objects, TIME, {}, {"a": data, "b": data, "c": data}).name

    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(write, range(16)))
    assert len(set(names)) == 16
    for number, name in enumerate(names):
        assert {objects.get(f"reports/{name}/{file}") for file in "abc"} == {str(number).encode()}


def test_what_a_killed_writer_left_is_not_taken_for_ones_own(objects: ObjectStore) -> None:
    """A folder that has anything in it is passed by."""
    objects.create("reports/20261124T031500Z/contents.json", b"{}")
    assert write_report(objects, TIME, {}, FILES).name == "20261124T031500Z-2"


def test_a_foreign_object_in_a_files_place_is_an_error() -> None:
    """Nothing is overwritten, and the report is not said to be there."""

    class Meddled(RemoteObjects):
        def create(self, key: str, data: bytes) -> bool:
            return super().create(key, data) and not key.endswith("numbers.csv")

    with pytest.raises(StoreError, match=r"reports/20261124T031500Z/numbers\.csv"):
        write_report(Meddled(RemoteObjects(MemoryStore())._backend), TIME, {}, FILES)
