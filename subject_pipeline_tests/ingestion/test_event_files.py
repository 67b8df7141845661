"""Event files as strangers may make them: what is wrong with a cell costs its row, with a file that file."""

import datetime as dt
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from subject_pipeline.audit import events
from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion import line_files, parquet_files, parquet_worker
from subject_pipeline.ingestion.event_files import read_events
from subject_pipeline.ingestion.line_files import FileLine
from subject_pipeline_tests.helpers.forked import ForkedReader, forked

_NOON = dt.datetime(2026, 6, 30, 12, tzinfo=dt.UTC)
_MIB = 1 << 20


@pytest.fixture
def _forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads each file by a process that starts at once; tests of the process itself start the program."""
    program = SimpleNamespace(Popen=ForkedReader, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(parquet_files, "subprocess", program)


def _columns(rows: int, **changed: Any) -> dict[str, Any]:
    columns = {
        "event_id": [f"e-{number}" for number in range(rows)],
        "candidate_id": ["P-1"] * rows,
        "ts": pa.array([_NOON] * rows, pa.timestamp("us", "UTC")),
        "actor": ["ada"] * rows,
        "action": ["view"] * rows,
    }
    return {**columns, **changed}


def _file(columns: dict[str, Any], **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, **options)
    return file


def _read(file: io.BytesIO) -> list[FileLine]:
    return list(read_events("e.parquet", file))


def _problems(file: io.BytesIO) -> list[str]:
    lines = _read(file)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    return [line.problem for line in lines]


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_time_of_any_unit_is_its_moment(unit: str) -> None:
    """What is beyond microseconds is cut."""
    exact = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] * 1_782_820_800
    times = pa.array([exact, exact + 999 if unit == "ns" else exact, None], pa.timestamp(unit, "Europe/Berlin"))
    found = [line.value.get("ts") for line in _read(_file(_columns(3, ts=times)))]
    assert found == ["2026-06-30T12:00:00.000000Z"] * 2 + [None]


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("year", [300_000, -5_000])
def test_a_time_that_no_calendar_has_rejects_its_row(year: int) -> None:
    """The rows around it are read."""
    far = (year - 1970) * 31_556_952 * 10**3
    times = pa.array([0, far, 0], pa.int64()).cast(pa.timestamp("ms", "UTC"))
    assert _problems(_file(_columns(3, ts=times))) == ["", "ts: no calendar holds this time in UTC", ""]


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize("name", ["event_id", "payload", "actor"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_text_that_is_not_utf8_rejects_its_row(name: str, plain: bool) -> None:
    """Whether it stands in a dictionary or in a page."""
    bad = pa.array([b"1", b"\xff\xfe", b"2"]).view(pa.string())
    problems = _problems(_file(_columns(3, **{name: bad}), use_dictionary=not plain))
    assert problems == ["", f"{name}: not UTF-8 text", ""]


@pytest.mark.usefixtures("_forked")
def test_a_cell_that_is_too_long_rejects_its_row() -> None:
    """By its column's limit; a list by its length and by its longest name."""
    long, words = "x" * 4_097, ["", "actor: longer than 1,024 characters", ""]
    assert _problems(_file(_columns(3, actor=["a", long, "b"]))) == words
    assert _problems(_file(_columns(3, payload=["1", '"' + "x" * 4 * _MIB + '"', "2"])))[1].startswith(
        "payload: longer"
    )
    fields = [["a"], ["n"] * 1_001, None, ["b", long], ["c"]]
    assert _problems(_file(_columns(5, fields=fields))) == [
        "", "fields: more than 1,000 names", "", "fields: longer than 1,024 characters", "",
    ]  # fmt: skip


@pytest.mark.usefixtures("_forked")
@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"actor": [1, 2]}, "actor: must be text"),
        ({"ts": [dt.date(2026, 1, 1)] * 2}, "ts: must be text"),
        ({"ts": pa.array([0, 0], pa.timestamp("ns"))}, "ts: has no time zone"),
        ({"fields": [[1], [2]]}, "fields: must be text"),
        ({"event_id": [b"a", b"b"]}, "event_id: must be text"),
        ({"payload": [b"{}", b"{}"]}, "payload: cannot form canonical JSON: JSON has no type bytes"),
        (
            {"payload": [{"a": float("nan")}] * 2},
            "payload: cannot form canonical JSON: a float that is NaN or infinite",
        ),
        ({"payload": ["{", "["]}, "payload: not JSON (at character 2)"),
        ({"payload": ['{"a":1,"a":2}'] * 2}, "payload: an object has a key twice"),
    ],
)
def test_a_cell_of_another_kind_rejects_its_row(changed: dict[str, Any], problem: str) -> None:
    """In the words that a line of JSON would be rejected with."""
    assert _problems(_file(_columns(2, **changed))) == [problem] * 2


@pytest.mark.usefixtures("_forked")
def test_a_payload_is_text_or_whatever_parquet_has() -> None:
    """JSON text, a structure or a number are the payload that they say."""
    for payload, expected in (
        (['{"a": [1]}'], {"a": [1]}),
        ([{"a": [1], "b": {"c": None}}], {"a": [1], "b": {"c": None}}),
        ([7], 7),
    ):
        assert _read(_file(_columns(1, payload=payload)))[0].value["payload"] == expected


@pytest.mark.usefixtures("_forked")
def test_columns_that_no_event_has_are_not_read() -> None:
    """A page of them may even be damaged."""
    file = _file(
        _columns(100, other=["secret" * 100] * 100), compression="none", use_dictionary=False, write_statistics=False
    )
    at = file.getvalue().index(b"secretsecret")  # the length of the first text stands before it
    damaged = io.BytesIO(file.getvalue()[: at - 4] + b"\xff" * 4 + file.getvalue()[at:])
    with pytest.raises(pa.ArrowException):
        pq.read_table(damaged)
    assert _problems(damaged) == [""] * 100
    assert "other" not in _read(damaged)[0].value


@pytest.mark.usefixtures("_forked")
def test_a_column_twice_is_a_key_twice() -> None:
    """Which of the two would count nobody knows."""
    table = pa.table([*_columns(1).values(), ["bob"]], names=[*_columns(1), "actor"])
    file = io.BytesIO()
    pq.write_table(table, file)
    with pytest.raises(SourceError, match=r"cannot read e\.parquet: it has the column actor twice"):
        _read(file)


def test_a_reader_that_dies_is_its_files_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash of a library ends the reader's process, not ours."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SourceError, match=r"e\.parquet: its content ended the process that read it"):
        _read(_file(_columns(1)))


@pytest.mark.long
def test_a_reader_ends_with_whoever_reads(tmp_path: Path) -> None:
    """Anyone who stops in the middle leaves no process behind."""
    others = set(psutil.Process().children())
    lines = read_events("e.parquet", _file(_columns(100_000)))
    next(lines)
    assert len(set(psutil.Process().children()) - others) == 1
    lines.close()  # type: ignore[attr-defined]
    assert set(psutil.Process().children()) <= others


def test_the_reader_knows_the_limits_of_an_event() -> None:
    """It states them itself, so as to start fast."""
    assert (parquet_worker.MAX_TEXT, parquet_worker.MAX_FIELDS) == (events.MAX_TEXT, events.MAX_FIELDS)
    assert line_files.MAX_LINE == 4 * _MIB


def _dictionary_of_a_large_text(path: Path) -> None:
    """A few kB on disk, 8 GB as objects."""
    payload = pa.DictionaryArray.from_arrays(pa.array([0] * 8_192, pa.int32()), pa.array(['"' + "x" * _MIB + '"']))
    # Of this many rows one is taken here, lest the test read a gigabyte of JSON: its payload is one byte too long.
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 8_192, pa.int32()), pa.array(["x" * (4 * _MIB + 1)]))
    columns = _columns(8_192, payload=long, purpose=payload)
    pq.write_table(pa.table(columns), path, compression="zstd")


def _pages_of_large_texts(path: Path) -> None:
    """64 different cells of 8 MiB, each its own page, in one row group."""
    texts = pa.array([f"{number:02d}" + "x" * 8 * _MIB for number in range(64)])
    options = {"compression": "zstd", "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(_columns(64, payload=texts)), path, data_page_size=1, write_batch_size=1, **options)


def _a_list_without_end(path: Path) -> None:
    """One row with twenty million names."""
    names = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), 20_000_000), pa.array(["n"]))
    fields = pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), names)
    pq.write_table(pa.table(_columns(1, fields=fields)), path, compression="zstd")


def _a_page_of_a_gigabyte(path: Path) -> None:
    """One text that alone is more than may be taken."""
    pq.write_table(
        pa.table(_columns(1, payload=["x" * 400 * _MIB])), path, compression="zstd", use_dictionary=False,
        write_statistics=False,
    )  # fmt: skip


_EVENT = {"event_id": "e", "candidate_id": "P-1", "ts": "2026-06-30T12:00:00Z", "actor": "a", "action": "view"}


def _lines_of_many_objects(path: Path) -> None:
    """Eight lines of 4 MiB, each a million objects, which take forty times their text; one has a key twice."""
    payload = b"[" + b'{"":0},' * 590_000 + b"0]"
    line = json.dumps(_EVENT).encode()[:-1] + b',"payload":' + payload + b"}\n"
    path.write_bytes(line * 7 + line.replace(b'{"":0}', b'{"":0,"":1}', 1))


def _lines_of_wide_texts(path: Path) -> None:
    """Sixty events whose names of fields take 4 MiB each in memory, since one character of each is no usual one."""
    fields = [f"{number:04d}" + "x" * 1_015 + "\U0001f600" for number in range(1_000)]
    with path.open("wb") as file:
        for number in range(60):
            file.write(json.dumps(_EVENT | {"event_id": str(number), "fields": fields}).encode() + b"\n")


_INGEST = """
import json, resource, sys
from pathlib import Path
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.errors import SourceError
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.store.opened import SubjectStore
folder = Path(sys.argv[1])
create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
log = AuditLog(SubjectStore.at(str(folder / "store"), wanted_chunks=4, ring=KeyRingFile(folder / "ring.json")))
report, ending = IngestReport(), ""
try:
    ingest(log, [local_file(path) for path in [Path(sys.argv[2]), folder / "sound.jsonl"]], report=report)
except SourceError as error:
    ending = str(error)
(own,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
peaks = [int(own), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]
found = {"appended": report.appended, "rejected": report.rejected, "ending": ending, "peaks": peaks}
print(json.dumps(found | {"reasons": sorted({one.reason for one in report.rejections})}))
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "name", "appended", "rejected", "ending"),
    [
        (_dictionary_of_a_large_text, "p.parquet", 1, 8_192, ""),
        (_a_list_without_end, "p.parquet", 1, 0, "p.parquet: it takes more than 192 MiB of memory"),
        # Other ways to the same limits, of hundreds of MiB each.
        pytest.param(_pages_of_large_texts, "p.parquet", 1, 64, "", marks=pytest.mark.real),
        pytest.param(
            _a_page_of_a_gigabyte,
            "p.parquet",
            1,
            0,
            "p.parquet: it takes more than 192 MiB of memory",
            marks=pytest.mark.real,
        ),
        pytest.param(_lines_of_many_objects, "p.jsonl", 2, 1, "", marks=pytest.mark.real),
        pytest.param(_lines_of_wide_texts, "p.jsonl", 61, 0, "", marks=pytest.mark.real),
    ],
)
def test_no_file_takes_more_than_its_share_of_memory(
    tmp_path: Path, make: Callable[[Path], None], name: str, appended: int, rejected: int, ending: str
) -> None:
    """An ingestion and the process that reads for it stay under 512 MiB together, and the next file is ingested."""
    maker = forked().Process(target=make, args=(tmp_path / name,))
    maker.start()  # what making it takes is not to count here
    maker.join()
    assert name.endswith(".jsonl") or (tmp_path / name).stat().st_size < 1 * _MIB
    (tmp_path / "sound.jsonl").write_text(json.dumps(_EVENT | {"event_id": "sound"}), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", _INGEST, tmp_path, tmp_path / name], check=True, capture_output=True, timeout=300
    )
    found = json.loads(ran.stdout)
    assert found["appended"] == appended
    assert found["rejected"] == rejected
    assert ending in found["ending"]
    assert sum(found["peaks"]) < 512 * 1024, found
