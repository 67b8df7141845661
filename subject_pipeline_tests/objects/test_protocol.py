"""One contract over every object store."""

import datetime as dt
import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from subject_pipeline.errors import StoreError
from subject_pipeline.objects.protocol import ObjectStore

KEY = "catalog/datasets/workers.json"


def _keys(objects: ObjectStore, prefix: str = "") -> list[str]:
    return [item.key for item in objects.list(prefix)]


def test_a_missing_object_is_none(objects: ObjectStore) -> None:
    """Reading a key without an object is no error, in an unused store neither."""
    assert objects.get(KEY) is None
    objects.create(KEY, b"1")
    assert objects.get("catalog/other.json") is None
    assert objects.get(f"{KEY}/below") is None


@pytest.mark.parametrize("data", [b"", b"one", bytes(range(256)) * 5000], ids=len)
def test_what_was_created_is_read_back(objects: ObjectStore, data: bytes) -> None:
    """An object holds exactly the bytes that were put, none and many too."""
    assert objects.create(KEY, data) is True
    assert objects.get(KEY) == data


def test_create_never_overwrites(objects: ObjectStore) -> None:
    """A create is put-if-absent: the same bytes are one's own success, others lose and change nothing."""
    assert objects.create(KEY, b"first") is True
    assert objects.create(KEY, b"first") is True
    assert objects.create(KEY, b"second") is False
    assert objects.create(KEY, b"") is False
    assert objects.get(KEY) == b"first"


def test_a_deleted_key_may_be_created_again(objects: ObjectStore) -> None:
    """After a delete the key is free."""
    objects.create(KEY, b"first")
    objects.delete(KEY)
    assert objects.create(KEY, b"second") is True
    assert objects.get(KEY) == b"second"


def test_of_racing_creators_exactly_one_wins(objects: ObjectStore) -> None:
    """Of 16 threads that create one key with different bytes, one is told True and its bytes stand."""
    start = Barrier(16)

    def create(number: int, key: str) -> bool:
        start.wait()
        return objects.create(key, b"%d" % number)

    with ThreadPoolExecutor(16) as pool:
        for turn in range(10):
            key = f"race/{turn}/object"
            won = list(pool.map(create, range(16), [key] * 16))
            assert won.count(True) == 1
            assert objects.get(key) == b"%d" % won.index(True)


def test_racing_creators_of_the_same_bytes_all_win(objects: ObjectStore) -> None:
    """Who finds exactly the bytes that it wanted to write has succeeded."""
    start = Barrier(4)

    def create(_: int) -> bool:
        start.wait()
        return objects.create(KEY, b"same")

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(create, range(4)))


def test_replace_writes_whatever_stood_there(objects: ObjectStore) -> None:
    """A replace writes where nothing was, and over what was."""
    objects.replace(KEY, b"first")
    objects.replace(KEY, b"2")
    assert objects.get(KEY) == b"2"


def test_a_reader_beside_a_replacing_writer_sees_whole_objects(objects: ObjectStore) -> None:
    """While an object is replaced over and over, every read gives one of the versions, whole."""
    versions = [bytes([number]) * 200_000 for number in range(4)]
    objects.replace(KEY, versions[0])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [objects.replace(KEY, version) for _ in range(8) for version in versions])
        while not writing.done():
            assert objects.get(KEY) in versions
        writing.result()


def test_deleting_what_is_not_there_is_no_error(objects: ObjectStore) -> None:
    """A delete is done once the object is gone, anyone who removed it."""
    objects.delete(KEY)
    objects.create(KEY, b"1")
    objects.delete(KEY)
    objects.delete(KEY)
    assert objects.get(KEY) is None
    assert _keys(objects) == []


def test_a_list_is_sorted_by_key(objects: ObjectStore) -> None:
    """Objects are listed by key, as text sorts, however they were written."""
    keys = [f"a/{number:04d}" for number in range(60)] + ["a-b/1", "a/b/c", "a.b", "z"]
    shuffled = list(keys)
    random.Random(1).shuffle(shuffled)  # noqa: S311 - no secret
    for key in shuffled:
        objects.create(key, key.encode())
    assert _keys(objects) == sorted(keys)
    assert _keys(objects, "a/") == sorted(key for key in keys if key.startswith("a/"))
    assert _keys(objects, "a/b/") == ["a/b/c"]


def test_a_list_of_nothing_is_empty(objects: ObjectStore) -> None:
    """A prefix without objects, and an unused store, list nothing."""
    assert _keys(objects) == []
    objects.create("a/1", b"")
    assert _keys(objects, "b/") == []


def test_a_listed_object_tells_size_and_time(objects: ObjectStore) -> None:
    """A listed object has its size in bytes and when it was written, in UTC."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
    objects.create(KEY, b"12345")
    (item,) = objects.list("catalog/")
    assert (item.key, item.size) == (KEY, 5)
    assert item.modified.utcoffset() == dt.timedelta(0)
    assert before <= item.modified <= dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)


def test_a_long_list_is_complete(objects: ObjectStore) -> None:
    """More objects than one page of a bucket's list are all listed."""
    for number in range(60):
        objects.replace(f"many/{number}", b"")
    assert len(_keys(objects, "many/")) == 60


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "a/..", "./a", "a/./b", "a//b", "a\0b"])
def test_a_key_that_leaves_the_store_is_refused(objects: ObjectStore, key: str) -> None:
    """No operation follows a key out of the store; it is our own error that says so."""
    for operation in (
        lambda: objects.get(key),
        lambda: objects.create(key, b"1"),
        lambda: objects.replace(key, b"1"),
        lambda: objects.delete(key),
        lambda: list(objects.list(f"{key}/")),
    ):
        with pytest.raises(StoreError):
            operation()


@pytest.mark.long
def test_a_big_object_is_whole(objects: ObjectStore) -> None:
    """40 MiB are put at once, read at once and read as a stream."""
    data = random.Random(2).randbytes(40 << 20)  # noqa: S311 - no secret
    assert objects.create(KEY, data) is True
    assert objects.get(KEY) == data
    with objects.open(KEY) as stream:
        assert stream.read(5) == data[:5]
        assert stream.read() == data[5:]


@pytest.mark.parametrize(
    "key",
    ["a b/c d", "Žofie/straße", "50%/x", "50%25/x", "a+b/c=d&e", "~/x", "a#1/b?c", "x" * 200 + "/" + "y" * 200],
)
def test_odd_keys_are_kept_as_they_are(objects: ObjectStore, key: str) -> None:
    """A key is listed as it was written, and names the same object."""
    assert objects.create(key, b"1") is True
    assert objects.create(key, b"2") is False
    assert _keys(objects) == [key]
    assert objects.get(key) == b"1"
    objects.delete(key)
    assert objects.get(key) is None


def test_what_was_written_is_listed_at_once(objects: ObjectStore) -> None:
    """A LIST after a create has the object, from another thread too."""
    with ThreadPoolExecutor(8) as pool:

        def write_and_list(number: int) -> bool:
            key = f"now/{number:03}"
            objects.create(key, b"1")
            return key in _keys(objects, "now/")

        assert all(pool.map(write_and_list, range(40)))


def test_an_object_larger_than_its_kind_may_be_is_not_read(objects: ObjectStore) -> None:
    """Its size is looked at first; both sizes are named."""
    objects.create(KEY, b"12345")
    assert objects.get(KEY, limit=5) == b"12345"
    assert objects.get("catalog/other.json", limit=0) is None
    with pytest.raises(StoreError, match=r"it has 5 bytes, more than the 4 .*restore it"):
        objects.get(KEY, limit=4)


def test_an_object_exists_once_it_is_written(objects: ObjectStore) -> None:
    """Asking reads nothing, and asking for nothing is no error."""
    assert not objects.exists("a/b")
    objects.create("a/b", b"x")
    assert objects.exists("a/b")
    assert not objects.exists("a/c")
    assert objects.exists("a/c", "a/b")
    assert not objects.exists("a/c", "a/d", "a/e")


def test_what_killed_writers_left_is_removed_where_a_store_keeps_such(objects: ObjectStore) -> None:
    """What was written stays."""
    objects.create("a/b", b"x")
    objects.remove_abandoned(dt.datetime.now(dt.UTC))
    assert objects.get("a/b") == b"x"
