import datetime as dt
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from subject_pipeline.candidates import source_keys
from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import BATCH_ROWS, KEY_SCHEMA, SourceKeys
from subject_pipeline.errors import SourceError

VECTORS = Path(__file__).parent.parent / "vectors"
PEOPLE = [uuid.UUID(int=number << 100 | 7) for number in (1, 2, 1)]


def _write(
    path: Path, keys: pa.Array | pl.Series, *, name: str = "key", store_schema: bool = True, **options: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(keys, pl.Series):
        pl.DataFrame({name: keys}).write_parquet(path)
    else:
        pq.write_table(pa.table({name: keys}), path, store_schema=store_schema, **options)
    return path


def _open(path: Path | str, column: str = "key") -> SourceKeys:
    return SourceKeys(find_source_files(str(path)), column)


def _read(path: Path | str, limit: int | None = None) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=KEY_SCHEMA), *_open(path).batches(limit)])


def _keys(path: Path | str, limit: int | None = None) -> list[str]:
    return _read(path, limit)["key"].to_list()


def _spoil(path: Path, row_group: int, column: int = 0) -> None:
    """Overwrite the pages of one column of one row group; the footer stays whole."""
    chunk = pq.read_metadata(path).row_group(row_group).column(column)
    start = chunk.data_page_offset if chunk.dictionary_page_offset is None else chunk.dictionary_page_offset
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * chunk.total_compressed_size)


INTEGERS = [
    (dtype, [0, 1, *ends])
    for dtype, ends in (
        (pa.int8(), (-128, 127)),
        (pa.int16(), (-(2**15), 2**15 - 1)),
        (pa.int32(), (-(2**31), 2**31 - 1)),
        (pa.int64(), (-(2**63), 2**63 - 1)),
        (pa.uint8(), (255,)),
        (pa.uint16(), (2**16 - 1,)),
        (pa.uint32(), (2**32 - 1,)),
        (pa.uint64(), (2**64 - 1,)),
    )
]


@pytest.mark.parametrize("store_schema", [True, False], ids=["arrow", "plain"])
@pytest.mark.parametrize(("dtype", "values"), INTEGERS, ids=[str(dtype) for dtype, _ in INTEGERS])
def test_integers_of_any_width_and_sign_form_ids(
    tmp_path: Path, dtype: pa.DataType, values: list[int], *, store_schema: bool
) -> None:
    """An integer's id is its decimal digits, with a minus where negative, to both ends of its range."""
    path = _write(tmp_path / "a.parquet", pa.array(values, dtype), store_schema=store_schema)
    assert _keys(path) == [str(value) for value in values]


TEXTS = ["a", "", " b ", "Zoë O'Neil", "日本", "longer than the twelve bytes that a view keeps inline", "a"]
STRINGS = {
    "string": pa.array(TEXTS, pa.string()),
    "large_string": pa.array(TEXTS, pa.large_string()),
    "string_view": pa.array(TEXTS, pa.string_view()),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "dictionary of large strings": pa.array(TEXTS, pa.large_string()).dictionary_encode(),
    "dictionary with small indices": pa.array(TEXTS).cast(pa.dictionary(pa.int8(), pa.string())),
    "categorical": pl.Series(TEXTS, dtype=pl.Categorical),
    "enum": pl.Series(TEXTS, dtype=pl.Enum(list(dict.fromkeys(TEXTS)))),
    "polars string": pl.Series(TEXTS),
}


@pytest.mark.parametrize("keys", STRINGS.values(), ids=STRINGS)
def test_strings_of_every_kind_form_ids(tmp_path: Path, keys: pa.Array | pl.Series) -> None:
    """A string's id is the string itself, however it is kept; an empty one is read too, to be refused by name."""
    assert _keys(_write(tmp_path / "a.parquet", keys)) == TEXTS


@pytest.mark.parametrize("dtype", [pa.int64(), pa.int32(), pa.uint64()], ids=str)
def test_dictionaries_of_integers_form_ids(tmp_path: Path, dtype: pa.DataType) -> None:
    """An integer is the same id with and without a dictionary."""
    keys = pa.array([7, 5, 7], dtype).dictionary_encode()
    assert _keys(_write(tmp_path / "a.parquet", keys)) == ["7", "5", "7"]


@pytest.mark.parametrize("store_schema", [True, False], ids=["arrow", "plain"])
def test_uuids_form_ids(tmp_path: Path, *, store_schema: bool) -> None:
    """A UUID's id is its usual form with dashes, whether or not the Arrow schema is stored in the file."""
    keys = pa.array([person.bytes for person in PEOPLE], pa.uuid())
    path = _write(tmp_path / "a.parquet", keys, store_schema=store_schema)
    assert _keys(path) == [str(person) for person in PEOPLE]


UUIDS = pa.array([person.bytes for person in PEOPLE], pa.uuid())
BYTES = pa.array([person.bytes for person in PEOPLE], pa.binary(16))
LETTERS = pa.array(["a", "b", "c"])


@pytest.mark.parametrize("first", [True, False], ids=["others first", "key first"])
@pytest.mark.parametrize(
    ("column", "others"),
    [
        ("key", {"other": "?"}),
        ("key", {"s": ("key", "?")}),
        ("s.key", {"s": ("key", "?")}),
        ("key", {"key.": "?"}),
    ],
    ids=["another column", "a nested leaf of its name", "a nested leaf of its path", "a column of nearly its name"],
)
def test_only_the_key_columns_own_leaf_says_what_it_holds(
    tmp_path: Path, column: str, others: dict[str, Any], *, first: bool
) -> None:
    """UUIDs are told from bytes by the key column alone, whatever the columns beside it hold and are called."""

    def table(keys: pa.Array, beside: pa.Array) -> Path:
        columns = {
            name: beside if what == "?" else pa.StructArray.from_arrays([beside], [what[0]])
            for name, what in others.items()
        }
        made = {**columns, column: keys} if first else {column: keys, **columns}
        pq.write_table(pa.table(made), tmp_path / "a.parquet")
        return tmp_path / "a.parquet"

    for beside in (LETTERS, BYTES):
        batches = _open(table(UUIDS, beside), column).batches()
        assert [key for batch in batches for key in batch["key"]] == [str(person) for person in PEOPLE]
    with pytest.raises(SourceError, match="unsupported key column type"):
        _open(table(BYTES, UUIDS), column)


def test_a_null_uuid_is_a_null_key(tmp_path: Path) -> None:
    """A UUID that is null is refused with its row."""
    keys = pa.array([PEOPLE[0].bytes, None], pa.uuid())
    with pytest.raises(SourceError, match="null key in column 'key' at row 1 "):
        _read(_write(tmp_path / "a.parquet", keys))


UNSUPPORTED = {
    "Float64": pa.array([1.0]),
    "Float32": pa.array([1.0], pa.float32()),
    "Boolean": pa.array([True]),
    "Date": pa.array([dt.date(2026, 1, 1)]),
    "Datetime": pa.array([1], pa.timestamp("us", "UTC")),
    "Time": pa.array([1], pa.time64("us")),
    "Duration": pa.array([1], pa.duration("us")),
    "Binary": pa.array([b"1"]),
    "fixed_size_binary[16]": pa.array([b"1" * 16], pa.binary(16)),
    "Decimal": pa.array([Decimal("1.00")]),
    "List": pa.array([[1]]),
    "Struct": pa.array([{"key": 1}]),
    "Null": pa.array([None]),
    "double": pa.array([1.0]).dictionary_encode(),
}


@pytest.mark.parametrize(("name", "keys"), UNSUPPORTED.items(), ids=UNSUPPORTED)
def test_any_other_type_is_refused_by_name(tmp_path: Path, name: str, keys: pa.Array) -> None:
    """What cannot form ids is refused before any row is read, with its type, its column and its file."""
    path = _write(tmp_path / "a.parquet", keys)
    with pytest.raises(SourceError, match="unsupported key column type: ") as raised:
        _open(path)
    for part in (name, "'key'", str(path), "integers, strings and UUIDs"):
        assert part in str(raised.value)


def test_one_unsupported_file_refuses_the_source(tmp_path: Path) -> None:
    """All files are looked at before the first row is read; the one that is wrong is named."""
    _write(tmp_path / "1.parquet", pa.array([1]))
    _write(tmp_path / "2.parquet", pa.array([1.5]))
    with pytest.raises(SourceError, match=r"unsupported key column type: Float64 .*2\.parquet"):
        _open(tmp_path)


@pytest.mark.parametrize("column", ["person", "KEY", "key.a", ""])
def test_a_missing_column_names_those_there_are(tmp_path: Path, column: str) -> None:
    """The message lists the columns of the file that lacks the wanted one."""
    pq.write_table(pa.table({"key": [1], "name": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(
        SourceError, match=rf"no column named '{column}' in .*a\.parquet; the columns there are: key, name"
    ):
        _open(tmp_path / "a.parquet", column)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Which of two columns is meant cannot be guessed."""
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["key", "key"]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="more than one column named 'key'"):
        _open(tmp_path / "a.parquet")


def test_a_null_key_is_named_with_its_row_and_file(tmp_path: Path) -> None:
    """The row number counts over the whole source and within the file, both from 0; empty files count none."""
    _write(tmp_path / "1.parquet", pa.array([1, 2, 3]))
    _write(tmp_path / "2.parquet", pa.array([], pa.int64()))
    _write(tmp_path / "3.parquet", pa.array([4, 5, None, 6, None]))
    with pytest.raises(SourceError, match=r"null key in column 'key' at row 5 of the source \(row 2 of .*3\.parquet\)"):
        _read(tmp_path)


def test_a_null_key_is_numbered_across_types(tmp_path: Path) -> None:
    """The numbers go on where a file of another key type begins."""
    _write(tmp_path / "1.parquet", pa.array([1, 2, 3], pa.int32()))
    _write(tmp_path / "2.parquet", pa.array([None, "a"]))
    with pytest.raises(SourceError, match=r"at row 3 of the source \(row 0 of .*2\.parquet\)"):
        _read(tmp_path)


def test_a_null_key_beyond_the_limit_is_not_reached(tmp_path: Path) -> None:
    """What a limited run does not read cannot fail it."""
    path = _write(tmp_path / "1.parquet", pa.array([1, 2, None]))
    assert _keys(path, 2) == ["1", "2"]


def test_rows_are_numbered_over_all_files(tmp_path: Path) -> None:
    """Rows count from 0 through the files in the order of their names."""
    _write(tmp_path / "b.parquet", pa.array(["y", "z"]))
    _write(tmp_path / "a.parquet", pa.array(["x"]))
    frame = _read(tmp_path)
    assert frame.schema == KEY_SCHEMA
    assert list(frame.iter_rows()) == [(0, "x"), (1, "y"), (2, "z")]


def test_key_types_may_differ_from_file_to_file(tmp_path: Path) -> None:
    """Int32 in one file, int64, strings, UUIDs and categories in others: one source, in order."""
    _write(tmp_path / "1.parquet", pa.array([1, 2], pa.int32()))
    _write(tmp_path / "2.parquet", pa.array([3, 2**40], pa.int64()))
    _write(tmp_path / "3.parquet", pa.array(["a"]))
    _write(tmp_path / "4.parquet", pa.array([PEOPLE[0].bytes], pa.uuid()))
    _write(tmp_path / "5.parquet", pa.array(["b"]).dictionary_encode())
    _write(tmp_path / "6.parquet", pa.array([4], pa.int32()))
    expected = ["1", "2", "3", str(2**40), "a", str(PEOPLE[0]), "b", "4"]
    frame = _read(tmp_path)
    assert frame["key"].to_list() == expected
    assert frame["row"].to_list() == list(range(8))
    for limit in range(9):
        assert _keys(tmp_path, limit) == expected[:limit]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum])
def test_categories_may_differ_from_file_to_file(tmp_path: Path, dtype: Any) -> None:
    """Files whose key column has other categories are one source."""
    for name, values in (("1.parquet", ["a", "b"]), ("2.parquet", ["c", "a"])):
        wanted = pl.Enum(values) if dtype is pl.Enum else dtype
        _write(tmp_path / name, pl.Series(values, dtype=wanted))
    assert _keys(tmp_path) == ["a", "b", "c", "a"]


def test_other_columns_may_differ_from_file_to_file(tmp_path: Path) -> None:
    """Columns that come, go, move or change their type beside the key do not matter."""
    pq.write_table(pa.table({"key": [1], "name": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"name": [1.5], "extra": [[1]], "key": [2]}), tmp_path / "2.parquet")
    pq.write_table(pa.table({"key": [3]}), tmp_path / "3.parquet")
    assert _keys(tmp_path) == ["1", "2", "3"]


def test_a_folder_name_does_not_become_a_column(tmp_path: Path) -> None:
    """In a folder laid out as `key=value`, the key is the column in the file."""
    _write(tmp_path / "key=folder" / "a.parquet", pa.array(["file"]))
    assert _keys(tmp_path) == ["file"]


def test_a_name_that_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    """Only the file itself is read where its name has wildcards in it."""
    _write(tmp_path / "a[1].parquet", pa.array(["right"]))
    _write(tmp_path / "a1.parquet", pa.array(["wrong"]))
    assert _keys(tmp_path / "a[1].parquet") == ["right"]


@pytest.mark.parametrize("name", ["__row", "row", "a.b", "key column", "clé"])
def test_a_key_column_may_have_any_name(tmp_path: Path, name: str) -> None:
    """No name of a column collides with the names that we use ourselves."""
    path = _write(tmp_path / "a.parquet", pa.array(["x", "y"]), name=name)
    (batch,) = _open(path, name).batches()
    assert list(batch.iter_rows()) == [(0, "x"), (1, "y")]


def test_a_source_without_rows_is_no_error(tmp_path: Path) -> None:
    """A source whose files have no rows has no keys."""
    path = _write(tmp_path / "a.parquet", pa.array([], pa.string()))
    assert _open(path).total_rows == 0
    assert _keys(path) == []
    assert _keys(path, 10) == []


def test_a_long_source_comes_in_batches(tmp_path: Path) -> None:
    """No batch is much larger than wanted, whatever the row groups, and every row comes once, in order."""
    rows = 3 * BATCH_ROWS + 17
    path = _write(tmp_path / "a.parquet", pa.array(range(rows)), row_group_size=rows)
    heights, after = [], 0
    for batch in _open(path).batches():
        assert batch["row"].equals(pl.int_range(after, after + batch.height, dtype=pl.UInt64, eager=True).alias("row"))
        assert (batch["key"].cast(pl.UInt64) == batch["row"]).all()
        after += batch.height
        heights.append(batch.height)
    assert after == rows
    assert max(heights) <= 2 * BATCH_ROWS


@settings(max_examples=settings().max_examples * 25 // 100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=7), min_size=1, max_size=4),
    st.integers(0, 25),
    st.integers(1, 5),
)
def test_a_limited_source_is_the_beginning_of_the_whole(
    tmp_path: Path, files: list[list[int]], limit: int, group: int
) -> None:
    """Whatever the files and row groups, a limit gives the first rows of what there is without one."""
    folder = tmp_path / uuid.uuid4().hex
    for number, values in enumerate(files):
        _write(folder / f"{number}.parquet", pa.array(values, pa.int64()), row_group_size=group)
    whole = _read(folder)
    expected = [str(value) for values in files for value in values]
    assert whole["key"].to_list() == expected
    assert _open(folder).total_rows == len(expected)
    assert _read(folder, limit).equals(whole.head(limit))


def test_a_limit_stops_before_a_damaged_row_group(tmp_path: Path) -> None:
    """Reading stops at the limit: a later row group that cannot be read is never reached."""
    path = _write(tmp_path / "a.parquet", pa.array(range(300)), row_group_size=100)
    _spoil(path, 1)
    assert _keys(path, 100) == [str(number) for number in range(100)]
    assert _open(path).total_rows == 300
    with pytest.raises(SourceError, match=r"cannot read the source .*a\.parquet"):
        _keys(path)


def test_a_limit_stops_before_a_damaged_file(tmp_path: Path) -> None:
    """Reading stops at the limit: a later file that cannot be read is never reached."""
    _write(tmp_path / "1.parquet", pa.array(range(100)))
    _spoil(_write(tmp_path / "2.parquet", pa.array(range(100))), 0)
    assert len(_keys(tmp_path, 100)) == 100
    with pytest.raises(SourceError, match="cannot read the source"):
        _keys(tmp_path)


def test_the_key_column_is_read_alone(tmp_path: Path) -> None:
    """Other columns are never touched: damage in them does not matter."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"note": ["secret"] * 100, "key": range(100)}), path)
    _spoil(path, 0, column=0)
    assert len(_keys(path)) == 100


def _damaged(tmp_path: Path, kind: str) -> Path:
    path = _write(tmp_path / "a.parquet", pa.array([f"id-{number}" for number in range(500)]), row_group_size=100)
    whole = path.read_bytes()
    text = b"id,name\n1,x\n"
    path.write_bytes(
        {
            "text": text,
            "one byte": b"P",
            "magic alone": b"PAR1",
            "magic twice": b"PAR1PAR1",
            "absurd footer": b"PAR1\xff\xff\xff\x7fPAR1",
            "no end": whole[:-1],
            "half": whole[: len(whole) // 2],
            "half with an end": whole[: len(whole) // 2] + whole[-8:],
            "no beginning": whole[200:],
        }[kind]
    )
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "text",
        "one byte",
        "magic alone",
        "magic twice",
        "absurd footer",
        "no end",
        "half",
        "half with an end",
        "no beginning",
    ],
)
def test_a_file_that_is_not_whole_parquet_is_our_own_error(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is no parquet or was cut off is named, and nothing is printed."""
    path = _damaged(tmp_path, kind)
    with pytest.raises(SourceError, match=r"a\.parquet"):
        _read(path)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_gone_is_our_own_error(tmp_path: Path) -> None:
    """A file that is deleted after it was listed, or after its footer was read, is named."""
    path = _write(tmp_path / "a.parquet", pa.array(range(10)))
    source, keys = find_source_files(str(path)), _open(path)
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.parquet is gone"):
        SourceKeys(source, "key")
    with pytest.raises(SourceError, match=r"cannot read the source .*a\.parquet"):
        list(keys.batches())


def test_a_file_that_shrank_meanwhile_is_our_own_error(tmp_path: Path) -> None:
    """A file that is replaced by a shorter one between footer and data does not pass for the whole."""
    path = _write(tmp_path / "a.parquet", pa.array(range(100)))
    keys = _open(path)
    _write(path, pa.array(range(40)))
    with pytest.raises(SourceError, match=r"a\.parquet"):
        list(keys.batches())


FLIPPED: dict[str, tuple[pa.Array, dict[str, Any]]] = {
    "integers": (pa.array(range(60)), {"compression": "none"}),
    "strings": (pa.array([f"id-{number}" for number in range(60)]), {"compression": "snappy"}),
    "dictionary": (pa.array(["a", "b", "c"] * 20).dictionary_encode(), {"compression": "zstd"}),
}


@pytest.mark.long
def test_flipped_bytes_end_in_rows_or_our_own_error(tmp_path: Path) -> None:
    """One flipped byte gives all rows of the footer or our own error: no other one, no rows lost, nothing printed."""
    paths = [
        _write(tmp_path / f"{kind}.parquet", keys, row_group_size=30, **options)
        for kind, (keys, options) in FLIPPED.items()
    ]
    child = subprocess.run(
        [sys.executable, "-m", "subject_pipeline_tests.helpers.flip_bytes", "2", *paths],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (child.stdout, child.stderr, child.returncode) == ("", "", 0)


@pytest.mark.long
@pytest.mark.xfail(strict=True, reason="Polars aborts the process when it cannot allocate what a damaged page claims")
def test_a_page_that_claims_an_absurd_length_is_our_own_error(tmp_path: Path) -> None:
    """A damaged page that claims exabytes ends in our own error."""
    path = tmp_path / "a.parquet"
    path.write_bytes((VECTORS / "absurd_length.parquet").read_bytes())
    code = (
        "import sys; from subject_pipeline.errors import SourceError\n"
        "from subject_pipeline.candidates.source_files import find_source_files\n"
        "from subject_pipeline.candidates.source_keys import SourceKeys\n"
        "try: list(SourceKeys(find_source_files(sys.argv[1]), 'k').batches())\n"
        "except SourceError: sys.exit(2)\n"
    )
    child = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60, check=False)
    assert child.returncode == 2


def test_a_panic_is_our_own_error_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """A Rust panic, which is no Exception and prints to descriptor 2 by itself, becomes our own error in silence."""

    def panic() -> None:
        with source_keys._read_errors("/data/a.parquet"):
            os.write(2, b"thread '<unnamed>' panicked at ...\n")
            raise pl.exceptions.PanicException("assertion failed\nnote: run with RUST_BACKTRACE")

    with pytest.raises(SourceError, match=r"/data/a\.parquet: damaged parquet: assertion failed$"):
        panic()
    assert capfd.readouterr().err == ""


def test_what_others_print_while_reading_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard error is only held back, not lost."""
    with source_keys._read_errors("/data/a.parquet"):
        os.write(2, b"a log line\n")
    os.write(2, b"another\n")
    assert capfd.readouterr().err == "a log line\nanother\n"


def test_two_readers_at_once_leave_standard_error_where_it_was() -> None:
    """Two sources read by two threads, in any order of entering and leaving, do not lose descriptor 2."""
    before = os.fstat(2)
    kept = os.dup(2)
    try:
        first, second = source_keys._read_errors("a"), source_keys._read_errors("b")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        second.__exit__(None, None, None)
        after = os.fstat(2)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)


@pytest.mark.parametrize(
    ("keys", "wanted", "there"),
    [
        (UUIDS, str(PEOPLE[0]), 2),
        (pa.array([7, 17, 7], pa.uint16()), "7", 2),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "a", 2),
        (LETTERS, "d", 0),
    ],
)
def test_the_rows_of_one_key(tmp_path: Path, keys: pa.Array, wanted: str, there: int) -> None:
    """Whole rows, found by the key as the id has it; files may differ in their other columns."""
    pq.write_table(pa.table({"key": keys, "note": ["x", "y", "z"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"key": keys, "age": [1, 2, 3]}), tmp_path / "b.parquet")
    found = list(_open(tmp_path).rows_of(wanted))
    assert [(rows.columns, rows.height) for rows in found] == (
        [(["key", "note"], there), (["key", "age"], there)] if there else []
    )
