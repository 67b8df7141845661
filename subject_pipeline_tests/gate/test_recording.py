import asyncio
import contextlib
import contextvars
import dataclasses
import datetime as dt
import gc
import getpass
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from obstore.store import MemoryStore

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.errors import (
    ConfigurationError,
    EventError,
    KeyRingError,
    OutcomeUnknownError,
    StoreError,
    WithheldError,
)
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.gate import AuditedTools, hook
from subject_pipeline.gate.daemon_threads import DaemonThreads
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.objects.remote import RemoteObjects
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify

SECRET = "a-phone-number-of-4711"

Rows = Callable[[str], list[dict[str, Any]]]
"""The rows of a subject."""


class Objects:
    """The objects of a store, with something done before each segment of the audit log is put there."""

    def __init__(self, inner: ObjectStore, before: Callable[[], None]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, key: str, data: bytes) -> bool:
        """Put if absent, or not at all."""
        if key.startswith("audit/"):
            self._before()
        return self._inner.create(key, data)


def _with(store: SubjectStore, objects: Any) -> SubjectStore:
    return replace(store, objects=objects, catalog=Catalog(objects))


def _failing(store: SubjectStore, error: Exception) -> SubjectStore:
    def fail() -> None:
        raise error

    return _with(store, Objects(store.objects, fail))


@pytest.fixture
def ring(tmp_path: Path) -> KeyRingFile:
    """A ring of its own."""
    path = tmp_path / "ring.json"
    create_ring(path, KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
    return KeyRingFile(path)


@pytest.fixture
def tools(keyed_store: SubjectStore) -> Iterator[AuditedTools]:
    """The hook of the store, with nothing chosen."""
    with AuditedTools(AuditLog(keyed_store), actor="assistant") as opened:
        yield opened


@pytest.fixture
def rows(keyed_store: SubjectStore) -> Rows:
    """Reads the store's log."""
    return lambda subject: [stored["row"] for stored in show(keyed_store, subject)]


def _nothing_logged(store: SubjectStore) -> bool:
    return not AuditSegments(store.objects).exist()


def _times_named(store: SubjectStore, subject: str) -> int:
    """How often a subject is named in the log's bytes."""
    logged = [store.objects.get(info.key) or b"" for info in store.objects.list("audit/")]
    return sum(data.count(f'"candidate_id":"{subject}"'.encode()) for data in logged)


@pytest.mark.parametrize("in_loop", [False, True])
def test_each_distinct_subject_gets_one_row(tools: AuditedTools, rows: Rows, in_loop: bool) -> None:
    """Given and found ids are recorded once each, with what the caller told and the result of the payload."""
    payload = {"records": [{"candidate_id": "W-2"}, {"candidate_id": "W-1"}, {"candidate_id": "W-2"}]}
    before = dt.datetime.now(dt.UTC)
    told: dict[str, Any] = {"actor": "ada", "purpose": "staffing", "trace_id": "t-1", "dataset": "workers"}
    told |= {"subjects": ["W-1", "W-3", "W-1"], "event_id": "e-1"}

    if in_loop:
        returned = asyncio.run(tools.after_async("find_workers", payload, **told))
    else:
        returned = tools.after("find_workers", payload, **told)

    assert returned is payload
    for subject in ("W-1", "W-2", "W-3"):
        (row,) = rows(subject)
        assert row.items() >= {name: told[name] for name in told if name != "subjects"}.items()
        assert (row["action"], row["result"], row["seq"]) == ("find_workers", "success", 0)
        assert before <= dt.datetime.fromisoformat(row["ts"]) <= dt.datetime.now(dt.UTC)
        assert row["payload_sha256"] == hashlib.sha256(canonical_json(payload)).hexdigest()


def test_rows_stand_in_order_of_first_sight(tmp_path: Path, ring: KeyRingFile) -> None:
    """Within a log, first those whom the caller gave, then as the payload names them."""
    store = SubjectStore.at(str(tmp_path / "one"), wanted_chunks=1, ring=ring)
    with AuditedTools(AuditLog(store), actor="a") as tools:
        tools.after("read", [{"candidate_id": "W-1"}, {"candidate_id": "W-2"}], subjects=["W-3", "W-2"])

    (segment,) = [store.objects.get(info.key) or b"" for info in store.objects.list("audit/")]
    assert re.findall(rb'"candidate_id":"(W-\d)"', segment) == [b"W-3", b"W-2", b"W-1"]


def test_what_is_not_told_is_absent(tools: AuditedTools, rows: Rows) -> None:
    """The actor is the hook's, the event's id random and one for all subjects of a call; the rest is left out."""
    tools.after("read", {}, subjects=["W-1", "W-2"])
    tools.after("read", {}, subjects="W-1")

    first, second = rows("W-1")
    (other,) = rows("W-2")
    assert first["actor"] == "assistant"
    assert not {"purpose", "trace_id", "dataset", "fields"} & first.keys()
    assert first["event_id"] == other["event_id"] != second["event_id"]


def test_depth_and_loops_hide_nobody(tools: AuditedTools, rows: Rows) -> None:
    """An answer nested beyond Python's own depth, or that contains itself, is searched to its end, and recorded."""
    deep: list[Any] = [{"candidate_id": "W-1"}]
    for _ in range(100_000):
        deep = [deep]
    looped: dict[str, Any] = {"candidate_id": "W-2"}
    looped["self"] = [looped]

    tools.after("read", deep)
    tools.after("read", looped)

    assert [row.get("payload_sha256") for row in (*rows("W-1"), *rows("W-2"))] == [None, None]
    while deep[0] and isinstance(deep[0], list):
        deep = deep[0]  # taken apart here: freeing it at once would use the C stack


@pytest.mark.parametrize("id_fields", ["worker", ["worker"], ("x", "worker")])
def test_id_fields_are_the_callers(keyed_store: SubjectStore, rows: Rows, id_fields: Any) -> None:
    """Only the fields that the gateway names hold ids; one name alone may be given as such."""
    with AuditedTools(AuditLog(keyed_store), actor="a", id_fields=id_fields) as tools:
        tools.after("read", {"worker": "W-1", "candidate_id": "W-2", "w": "W-3"})

    (row,) = rows("W-1")
    assert row["fields"] == ["candidate_id", "w"]
    assert [_times_named(keyed_store, subject) for subject in ("W-2", "W-3", "w")] == [0, 0, 0]


def test_nobody_named_nothing_recorded(tools: AuditedTools, store: SubjectStore) -> None:
    """An answer about nobody goes out, and no log is begun."""
    payload = {"status": 404, "weather": "rain"}

    assert tools.after("read", payload) is payload
    assert asyncio.run(tools.after_async("read", payload)) is payload
    assert _nothing_logged(store)


def test_fields_are_names_of_the_subjects_own_records(tools: AuditedTools, rows: Rows) -> None:
    """Sorted names over all records of a subject, without ids, without those of others, without what is no name."""
    tools.after(
        "find",
        {
            "total": 3,
            "records": [
                {"candidate_id": "W-1", "phone": SECRET, "name": "Ada"},
                {"candidate_id": "W-1", "subject_id": "W-1", "city": {"zip": 1}},
                {"candidate_id": "W-2", "salary": 1, "Ada Lovelace": 2, "4711": 3, "ä": 4, "a" * 65: 5, "x\n": 6},
                {"candidate_id": "W-3"},
            ],
        },
        subjects=["W-4"],
    )

    assert [row.get("fields") for subject in ("W-1", "W-2", "W-3", "W-4") for row in rows(subject)] == [
        ["city", "name", "phone"],
        ["salary"],
        None,
        None,
    ]


def test_fields_are_at_most_200(tools: AuditedTools, rows: Rows) -> None:
    """Of very wide records the first 200 names are kept."""
    tools.after("read", {"candidate_id": "W-1"} | {f"f{number:04}": 0 for number in reversed(range(5_000))})

    assert rows("W-1")[0]["fields"] == [f"f{number:04}" for number in range(200)]


@pytest.mark.parametrize(
    ("signals", "result"),
    [
        ({"error": None, "denied": False, "not_found": "", "status": 200}, "success"),
        ({"error": 0, "status": "ok"}, "success"),
        ({"error": "boom", "not_found": True, "denied": True, "status": 500}, "denied"),
        ({"error": "boom", "not_found": True, "status": 403}, "not_found"),
        ({"error": "boom", "status": 403}, "error"),
        ({"status": "forbidden"}, "denied"),
        ({"nested": {"denied": True}}, "success"),
    ],
)
def test_the_result_is_the_payloads(tools: AuditedTools, rows: Rows, signals: dict[str, Any], result: str) -> None:
    """Falsy signals do not count, and the gravest of several does."""
    tools.after("read", {"candidate_id": "W-1"} | signals)

    assert [row["result"] for row in rows("W-1")] == [result]


@pytest.mark.parametrize("value", [dt.datetime(2026, 1, 1, tzinfo=dt.UTC), 2**53, float("nan"), {1}, "\ud800"])
def test_what_has_no_canonical_form_is_recorded_without_hash(
    tools: AuditedTools, rows: Rows, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    """The access counts more than its hash; a warning says so, without the answer's content."""
    tools.after("read", {"candidate_id": "W-1", "phone": SECRET, "value": value})

    (row,) = rows("W-1")
    assert "payload_sha256" not in row
    assert row["fields"] == ["phone", "value"]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith("read: recorded without the hash of its payload: cannot form canonical JSON")
    assert SECRET not in caplog.text


def test_a_call_that_is_recorded_again_is_there_once(tools: AuditedTools, rows: Rows) -> None:
    """With an id of the call the first row wins; the answer goes out both times."""
    tools.after("read", {"denied": True}, subjects=["W-1"], event_id="call-1")
    payload = {"candidate_id": "W-1"}

    assert tools.after("read", payload, event_id="call-1") is payload
    assert [row["result"] for row in rows("W-1")] == ["denied"]


def test_no_value_of_an_answer_is_stored(tools: AuditedTools, tmp_path: Path) -> None:
    """No byte of the store holds a value of the payload, wherever it stood."""
    payload = {"candidate_id": "W-1", "phone": SECRET, "error": SECRET, "inner": {"subject_id": "W-2", "x": [SECRET]}}
    tools.after("read", payload | {SECRET + " as a key": 1})
    tools.close()

    stored = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(b'"W-1"' in data for data in stored)
    assert not any(SECRET.encode() in data for data in stored)


FAILURES = [StoreError("the disk is full"), OutcomeUnknownError("no answer of the store"), OSError("unforeseen")]


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("in_loop", [False, True])
def test_an_answer_whose_access_cannot_be_recorded_is_withheld(
    keyed_store: SubjectStore,
    error: Exception,
    in_loop: bool,
) -> None:
    """By default whatever fails the append raises, with its reason and cause and without the answer."""
    tools = AuditedTools(AuditLog(_failing(keyed_store, error)), actor="a")
    payload = {"candidate_id": "W-1", "phone": SECRET}

    with pytest.raises(WithheldError, match=r"^the answer of read is withheld, .* recorded: ") as withheld:
        asyncio.run(tools.after_async("read", payload)) if in_loop else tools.after("read", payload)

    assert isinstance(withheld.value.__cause__, type(error))
    assert SECRET not in str(withheld.value)
    assert _nothing_logged(keyed_store)


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("in_loop", [False, True])
def test_by_choice_the_answer_is_released_and_the_failure_logged(
    keyed_store: SubjectStore,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    in_loop: bool,
) -> None:
    """With `release` the answer goes out; one error is logged, without the answer or what is not our own words."""
    tools = AuditedTools(AuditLog(_failing(keyed_store, error)), actor="a", on_failure="release")
    payload = {"candidate_id": "W-1", "phone": SECRET}

    returned = asyncio.run(tools.after_async("read", payload)) if in_loop else tools.after("read", payload)

    assert returned is payload
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    reason = str(error) if isinstance(error, StoreError) else "OSError"
    assert logged.getMessage() == f"read: the answer is released, but the access was not recorded: {reason}"
    assert logged.exc_info is None
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"candidate_id": ""}, {}),
        ({"candidate_id": " "}, {}),
        ({"candidate_id": "W" * 201}, {}),
        ({"candidate_id": "\ud800"}, {}),
        ([{"candidate_id": "W-1"}, {"candidate_id": ""}], {}),
        ({}, {"subjects": [None]}),
        ({}, {"subjects": [17]}),
        ({}, {"subjects": [[]]}),
        ({}, {"subjects": None}),
        ({}, {"subjects": ""}),
        ({"candidate_id": "W-1"}, {"trace_id": "t" * 1_025}),
        ({"candidate_id": "W-1"}, {"purpose": 7}),
        ({"candidate_id": "W-1"}, {"dataset": "\ud800"}),
        ({"candidate_id": "W-1"}, {"actor": ""}),
        ({"candidate_id": "W-1"}, {"event_id": ""}),
    ],
)
def test_what_no_row_can_hold_withholds_the_answer(
    tools: AuditedTools, store: SubjectStore, payload: object, told: dict[str, Any]
) -> None:
    """An id that is no subject's, or a text too long, records nothing at all and lets nothing out."""
    with pytest.raises(WithheldError, match="is withheld"):
        tools.after("read", payload, **told)

    assert _nothing_logged(store)


class _Unreadable(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError(SECRET)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError(SECRET)

    def __len__(self) -> int:
        return 1


def test_an_answer_that_cannot_be_read_is_withheld(
    tools: AuditedTools, keyed_store: SubjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A mapping that fails is no way around the record; its words, which may quote the answer, are not repeated."""
    with pytest.raises(WithheldError, match=r"recorded: RuntimeError$"):
        tools.after("read", _Unreadable(), subjects=["W-1"])
    releasing = AuditedTools(AuditLog(keyed_store), actor="a", on_failure="release")
    releasing.after("read", _Unreadable(), subjects=["W-1"])

    assert caplog.records[-1].getMessage().endswith("recorded: RuntimeError")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("action", ["manifest_updated", "manifest_", "", " ", "a" * 1_025, None])
@pytest.mark.parametrize("on_failure", ["withhold", "release"])
def test_an_action_that_no_row_can_name_is_the_callers_error(
    keyed_store: SubjectStore, action: Any, on_failure: Any
) -> None:
    """Even with nobody named and even with `release` it raises, so that the first call shows it."""
    tools = AuditedTools(AuditLog(keyed_store), actor="a", on_failure=on_failure)

    with pytest.raises(EventError, match=r"^action: "):
        tools.after(action, {})
    with pytest.raises(EventError, match=r"^action: "):
        asyncio.run(tools.after_async(action, {"candidate_id": "W-1"}))
    assert _nothing_logged(keyed_store)


def test_a_hook_that_could_never_work_is_refused(keyed_store: SubjectStore) -> None:
    """A misspelt choice must not mean release, and an actor must be a name."""
    misspelt: Any = "withold"
    with pytest.raises(ConfigurationError, match="on_failure must be one of withhold, release, not 'withold'"):
        AuditedTools(AuditLog(keyed_store), actor="a", on_failure=misspelt)
    with pytest.raises(ConfigurationError, match="on_opaque must be one of withhold, release, not 'withold'"):
        AuditedTools(AuditLog(keyed_store), actor="a", on_opaque=misspelt)
    with pytest.raises(EventError, match="actor: empty"):
        AuditedTools(AuditLog(keyed_store), actor="")


def test_concurrent_calls_to_one_subject_land_in_one_chain(keyed_store: SubjectStore, rows: Rows) -> None:
    """Of fifty calls at once each has its row, and the chain is intact."""

    async def all_at_once() -> list[dict[str, Any]]:
        async with AuditedTools(AuditLog(keyed_store), actor="a") as tools:
            calls = [tools.after_async("read", {"candidate_id": "W-1", "n": n}, trace_id=f"t-{n}") for n in range(50)]
            return await asyncio.gather(*calls)

    assert [answer["n"] for answer in asyncio.run(all_at_once())] == list(range(50))
    found = rows("W-1")
    assert [row["seq"] for row in found] == list(range(50))
    assert {row["trace_id"] for row in found} == {f"t-{n}" for n in range(50)}
    verified = verify(keyed_store)
    assert (verified.sound, verified.rows, verified.chains) == (True, 50, 1)


def test_an_append_does_not_block_the_event_loop(keyed_store: SubjectStore) -> None:
    """While the store is waited for other tasks go on; the answer is not out before the row is there."""
    reached, gate = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert gate.wait(30)

    async def race() -> None:
        async with AuditedTools(AuditLog(_with(keyed_store, Objects(keyed_store.objects, wait))), actor="a") as tools:
            call = asyncio.create_task(tools.after_async("read", {"candidate_id": "W-1"}))
            assert await asyncio.to_thread(reached.wait, 30)
            assert not call.done()
            assert _nothing_logged(keyed_store)
            gate.set()
            await call
            assert not _nothing_logged(keyed_store)

    asyncio.run(race())


@pytest.mark.parametrize("how", ["cancelled", "too slow"])
def test_a_cancelled_call_lets_nothing_out_and_may_be_recorded(keyed_store: SubjectStore, rows: Rows, how: str) -> None:
    """The task ends at once; the append that was under way is finished before the hook is closed."""
    reached, gate = threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert gate.wait(30)

    async def give_up() -> None:
        async with AuditedTools(AuditLog(_with(keyed_store, Objects(keyed_store.objects, wait))), actor="a") as tools:
            call = asyncio.create_task(tools.after_async("read", {"candidate_id": "W-1"}))
            assert await asyncio.to_thread(reached.wait, 30)
            if how == "cancelled":
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, timeout=0.01)
            gate.set()

    asyncio.run(give_up())
    assert len(rows("W-1")) == 1


def test_the_callers_context_is_seen_in_the_thread(keyed_store: SubjectStore) -> None:
    """Context variables, which loggers and tracers hang on, hold in an asynchronous call too."""
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")
    seen: list[str] = []
    objects = Objects(keyed_store.objects, lambda: seen.append(request.get()))

    async def call() -> None:
        request.set("r-1")
        async with AuditedTools(AuditLog(_with(keyed_store, objects)), actor="a") as tools:
            await tools.after_async("read", {"candidate_id": "W-1"})

    asyncio.run(call())
    assert seen == ["r-1"]


@pytest.mark.parametrize("in_loop", [False, True])
def test_closing_the_hook_closes_its_log(keyed_store: SubjectStore, in_loop: bool) -> None:
    """Index writes that are due are finished, however the hook was used."""
    closed: list[bool] = []

    class Log(AuditLog):
        def close(self, **limits: int) -> None:
            super().close(**limits)
            closed.append(True)

    async def use() -> None:
        async with AuditedTools(Log(keyed_store), actor="a"):
            pass

    if in_loop:
        asyncio.run(use())
    else:
        with AuditedTools(Log(keyed_store), actor="a"):
            pass
    assert closed == [True]


def test_a_closed_hook_lets_nothing_out(tools: AuditedTools, store: SubjectStore) -> None:
    """A call that comes after the end is withheld, not lost in a queue."""
    tools.close()

    with pytest.raises(WithheldError):
        asyncio.run(tools.after_async("read", {"candidate_id": "W-1"}))
    assert _nothing_logged(store)


class Hanging:
    """What a store does that hangs: segments wait, and may be let go."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Event()

    def __call__(self) -> None:
        """Hang."""
        self.begun.release()
        assert self.let_go.wait(30)

    def has_begun(self, times: int = 1) -> None:
        """Wait until so many appends hang."""
        for _ in range(times):
            assert self.begun.acquire(timeout=30)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    """It is let go at the end whatever happens."""
    hanging = Hanging()
    yield hanging
    hanging.let_go.set()


Hung = Callable[..., AuditedTools]
"""Opens a hook of the store that hangs; called with options."""


@pytest.fixture
def hung(keyed_store: SubjectStore, hanging: Hanging) -> Hung:
    """Of a store whose layout is there and whose segments hang."""
    objects = Objects(keyed_store.objects, hanging)
    return lambda **options: AuditedTools(AuditLog(_with(keyed_store, objects)), actor="a", **options)


def _after(tools: AuditedTools, payload: object, *, in_loop: bool, **told: Any) -> object:
    return asyncio.run(tools.after_async("read", payload, **told)) if in_loop else tools.after("read", payload, **told)


def _soon(store: SubjectStore, subject: str, count: int) -> None:
    """Wait until a subject has so many rows."""
    ends = time.monotonic() + 30
    while _times_named(store, subject) != count:
        assert time.monotonic() < ends
        time.sleep(0.005)


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_store_that_hangs_withholds_the_answer_in_time(
    hung: Hung, hanging: Hanging, store: SubjectStore, in_loop: bool
) -> None:
    """The caller continues at the deadline and learns that the row may still arrive; it does once the store answers."""
    tools = hung(timeout=0.2)
    began = time.monotonic()

    with pytest.raises(
        WithheldError, match=r"^the answer of read is withheld, .*within 0.2 s; its rows may still arrive"
    ):
        _after(tools, {"candidate_id": "W-1", "phone": SECRET}, in_loop=in_loop)

    assert 0.2 <= time.monotonic() - began < 5
    assert _nothing_logged(store)
    hanging.let_go.set()
    _soon(store, "W-1", 1)


def test_the_cause_of_a_late_answer_says_whether_rows_may_be_there(hung: Hung) -> None:
    """It is the error that every other write of unknown outcome ends in."""
    with pytest.raises(WithheldError) as withheld:
        hung(timeout=0.01).after("read", {"candidate_id": "W-1"})

    assert isinstance(withheld.value.__cause__, OutcomeUnknownError)


@pytest.mark.parametrize("in_loop", [False, True])
def test_by_choice_a_late_answer_is_released(hung: Hung, caplog: pytest.LogCaptureFixture, in_loop: bool) -> None:
    """With `release` a store that hangs delays the answer by the deadline and no longer; an error is logged."""
    payload = {"candidate_id": "W-1", "phone": SECRET}

    assert _after(hung(timeout=0.01, on_failure="release"), payload, in_loop=in_loop) is payload

    (logged,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert logged == (
        "read: the answer is released, but the access was not recorded:"
        " not on record within 0.01 s; its rows may still arrive"
    )
    assert SECRET not in caplog.text


def test_closing_without_time_for_the_index_ends_well(
    keyed_store: SubjectStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread takes the index before the time is up, that is logged: a later append writes it."""
    quick = AuditedTools(AuditLog(keyed_store), actor="a", timeout=0.05)
    monkeypatch.setattr(hook, "DaemonThreads", lambda _, name: DaemonThreads(0, name))
    quick.close()
    assert "the store has not taken the audit log's index yet" in caplog.text


def test_an_answer_that_hangs_itself_is_withheld_in_time(keyed_store: SubjectStore) -> None:
    """The deadline is the call's, whatever of it takes so long."""
    let_go = threading.Event()

    class Lazy(dict[str, object]):
        def items(self) -> Any:
            assert let_go.wait(30)
            return super().items()

        def get(self, name: str, default: object = None) -> Any:
            assert let_go.wait(30)
            return super().get(name, default)

    with AuditedTools(AuditLog(keyed_store), actor="a", timeout=0.05) as quick:
        with pytest.raises(WithheldError, match="may still arrive"):
            quick.after("read", Lazy(candidate_id="W-1"))
        let_go.set()


@pytest.mark.long
@pytest.mark.parametrize("in_loop", [False, True])
def test_a_store_that_hung_is_of_use_again_when_it_wakes_up(
    hung: Hung, hanging: Hanging, store: SubjectStore, in_loop: bool
) -> None:
    """Each call is withheld at its own deadline however many hang; none is recorded that no thread had begun."""
    calls = hook._THREADS + 8

    async def in_the_loop(tools: AuditedTools) -> list[object]:
        return await asyncio.gather(
            *(tools.after_async("read", {"candidate_id": "W-1"}) for _ in range(calls)), return_exceptions=True
        )

    def in_threads(tools: AuditedTools) -> list[object]:
        def call(_: int) -> object:
            try:
                return tools.after("read", {"candidate_id": "W-1"})
            except WithheldError as error:
                return error

        with ThreadPoolExecutor(calls) as pool:
            return list(pool.map(call, range(calls)))

    tools = hung(timeout=0.5)
    began = time.monotonic()
    outcomes = asyncio.run(in_the_loop(tools)) if in_loop else in_threads(tools)
    with pytest.raises(WithheldError, match=r"no room for it within 0.5 s; nothing was appended") as crowded:
        _after(tools, {"candidate_id": "W-2"}, in_loop=in_loop)

    assert time.monotonic() - began < 15
    assert not isinstance(crowded.value.__cause__, OutcomeUnknownError)
    causes = [type(error.__cause__) for error in outcomes if isinstance(error, WithheldError)]
    assert len(causes) == calls
    assert causes.count(OutcomeUnknownError) == hook._THREADS
    hanging.let_go.set()
    _soon(store, "W-1", hook._THREADS)
    payload = {"candidate_id": "W-2"}
    assert _after(tools, payload, in_loop=in_loop) is payload
    tools.close()
    assert [_times_named(store, subject) for subject in ("W-1", "W-2")] == [hook._THREADS, 1]


def test_a_cancelled_call_that_no_thread_had_begun_is_not_recorded(
    hung: Hung, hanging: Hanging, store: SubjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves no row behind when the store wakes up."""
    monkeypatch.setattr(hook, "_THREADS", 1)

    async def give_up() -> None:
        async with hung() as tools:
            first = asyncio.create_task(tools.after_async("read", {"candidate_id": "W-1"}))
            await asyncio.to_thread(hanging.has_begun)
            second = asyncio.create_task(tools.after_async("read", {"candidate_id": "W-2"}))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            hanging.let_go.set()
            await first

    asyncio.run(give_up())
    assert [_times_named(store, subject) for subject in ("W-1", "W-2")] == [1, 0]


@pytest.mark.parametrize("in_loop", [False, True])
def test_closing_does_not_hang_behind_a_store_that_does(
    hung: Hung, hanging: Hanging, caplog: pytest.LogCaptureFixture, in_loop: bool
) -> None:
    """It waits as long as a call would, then says what it left behind; what comes later is withheld at once."""
    tools = hung(timeout=0.05)
    with pytest.raises(WithheldError):
        tools.after("read", {"candidate_id": "W-1"})
    hanging.has_begun()

    async def close() -> None:
        async with tools:
            pass

    if in_loop:
        asyncio.run(close())
    else:
        tools.close()

    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "closed, but the store has not answered 1 calls yet; their rows may still arrive"
    ]
    with pytest.raises(WithheldError, match="recorded: no thread takes it: audited-tools is closed"):
        tools.after("read", {"candidate_id": "W-1"})


def test_closing_does_not_hang_behind_an_index_either(
    keyed_store: SubjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The log's own closing has the rest of the same time."""
    let_go, closed = threading.Event(), threading.Event()

    class Log(AuditLog):
        def close(self, **limits: int) -> None:
            assert let_go.wait(30)
            super().close(**limits)
            closed.set()

    tools = AuditedTools(Log(keyed_store), actor="a", timeout=0.05)
    tools.after("read", {})
    tools.close()

    assert [record.getMessage() for record in caplog.records] == [
        "closed, but the store has not taken the audit log's index yet; a later append writes it"
    ]
    let_go.set()
    assert closed.wait(30)


def test_what_closing_the_log_raises_is_raised(keyed_store: SubjectStore) -> None:
    """It is not lost in another thread."""

    class Log(AuditLog):
        def close(self, **_: int) -> None:
            raise StoreError("the disk is gone")

    with pytest.raises(StoreError, match="the disk is gone"):
        AuditedTools(Log(keyed_store), actor="a").close()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300, None, "10"])
def test_a_deadline_that_is_none_is_refused(keyed_store: SubjectStore, timeout: Any) -> None:
    """Without one a store that hangs would hang the caller."""
    with pytest.raises(ConfigurationError, match=r"^timeout must be a number of seconds above 0, .*, not "):
        AuditedTools(AuditLog(keyed_store), actor="a", timeout=timeout)


HANGING = """
import os, sys, threading
from dataclasses import replace
from subject_pipeline.errors import WithheldError
from subject_pipeline.gate import AuditedTools

tools = AuditedTools.open(sys.argv[1], key_ring=sys.argv[2], actor="a", timeout=0.2)
tools.after("read", {"candidate_id": "W-1"})
objects = tools._log.store.objects
type(objects).create = lambda *_: threading.Event().wait()
try:
    tools.after("read", {"candidate_id": "W-1"})
except WithheldError:
    print("withheld")
if sys.argv[3] == "close":
    tools.close()
"""


@pytest.mark.long
@pytest.mark.parametrize("how", ["close", "leave"])
def test_a_program_ends_though_its_store_hangs(tmp_path: Path, ring: KeyRingFile, how: str) -> None:
    """Whether it closes the hook or not."""
    command = [sys.executable, "-c", HANGING, str(tmp_path / "store"), str(ring.path), how]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "withheld\n")


@pytest.mark.long
def test_a_hook_that_is_let_go_of_leaves_no_thread(keyed_store: SubjectStore) -> None:
    """One that nobody closes is closed when it is garbage."""
    before = set(threading.enumerate())
    tools = AuditedTools(AuditLog(keyed_store), actor="a")
    tools.after("read", {"candidate_id": "W-1"})
    started = set(threading.enumerate()) - before
    del tools
    gc.collect()

    assert started
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize("in_loop", [False, True])
def test_a_misspelt_argument_is_refused(tools: AuditedTools, store: SubjectStore, in_loop: bool) -> None:
    """Else `subject=` would record nobody."""
    misspelt: Any = {"subject": "W-1"}
    with pytest.raises(TypeError, match="unknown arguments subject; "):
        asyncio.run(tools.after_async("read", {}, **misspelt)) if in_loop else tools.after("read", {}, **misspelt)

    assert _nothing_logged(store)


@dataclasses.dataclass
class Worker:
    """A tool's answer as an object."""

    candidateId: str  # noqa: N815 - as the API has it
    phone: str
    error: str | None = None


class ToolResult(pydantic.BaseModel):
    """MCP's `CallToolResult`, in outline."""

    content: list[dict[str, Any]]
    structuredContent: dict[str, Any] | None = None  # noqa: N815 - as MCP has it
    isError: bool = False  # noqa: N815 - as MCP has it


PERSON = {"candidate_id": "W-1", "phone": SECRET}
LOOKED_INTO: list[tuple[Any, str, list[str] | None, object]] = [
    (
        Worker("W-1", SECRET),
        "success",
        ["error", "phone"],
        {"candidateId": "W-1", "phone": SECRET, "error": None},
    ),
    (
        [Worker("W-1", SECRET, "boom")],
        "success",
        ["error", "phone"],
        [{"candidateId": "W-1", "phone": SECRET, "error": "boom"}],
    ),
    (
        Worker("W-1", SECRET, "boom"),
        "error",
        ["error", "phone"],
        {"candidateId": "W-1", "phone": SECRET, "error": "boom"},
    ),
    (
        ToolResult(content=[{"type": "text", "text": json.dumps(PERSON)}], isError=True),
        "error",
        ["phone"],
        {"content": [{"type": "text", "text": json.dumps(PERSON)}], "structuredContent": None, "isError": True},
    ),
    (
        ToolResult(content=[], structuredContent=PERSON),
        "success",
        ["phone"],
        {"content": [], "structuredContent": PERSON, "isError": False},
    ),
    (json.dumps(PERSON | {"status": 403}), "denied", ["phone", "status"], json.dumps(PERSON | {"status": 403})),
    (MappingProxyType(PERSON), "success", ["phone"], PERSON),
]


@pytest.mark.parametrize(("payload", "result", "fields", "hashed"), LOOKED_INTO)
def test_objects_and_json_text_are_recorded_as_what_they_say(
    tools: AuditedTools, rows: Rows, payload: object, result: str, fields: list[str], hashed: object
) -> None:
    """Subjects, result and hash are of the JSON that was looked into; what goes out is the caller's own."""
    assert tools.after("read", payload) is payload

    (row,) = rows("W-1")
    assert (row["result"], row["fields"]) == (result, fields)
    assert row["payload_sha256"] == hashlib.sha256(canonical_json(hashed)).hexdigest()


OPAQUE = [
    SECRET,
    b"bytes",
    (record for record in [PERSON]),
    {"candidate_id": "W-1", "photo": b"bytes"},
    {"content": [{"type": "text", "text": f"the phone is {SECRET}"}]},
    {"content": [{"type": "text", "text": f'{{"candidate_id": "W-1", "candidate_id": "{SECRET}"}}'}]},
    {"structuredContent": PERSON, "content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]},
    [{"candidate_id": "W-1", "phone": object()}],
]


@pytest.mark.parametrize("payload", OPAQUE, ids=lambda payload: repr(payload)[:20])
@pytest.mark.parametrize("subjects", ["W-1", ()])
@pytest.mark.parametrize("on_failure", ["withhold", "release"])
@pytest.mark.parametrize("in_loop", [False, True])
def test_what_cannot_be_looked_into_is_withheld(
    keyed_store: SubjectStore,
    caplog: pytest.LogCaptureFixture,
    payload: Any,
    subjects: Any,
    on_failure: Any,
    in_loop: bool,
) -> None:
    """It may name people beside those who are given, so nothing is appended, and what fails is of no matter."""
    tools = AuditedTools(AuditLog(keyed_store), actor="a", on_failure=on_failure)

    with pytest.raises(WithheldError, match=r"^the answer of read is withheld, .* examined for people: ") as withheld:
        _after(tools, payload, in_loop=in_loop, subjects=subjects)

    assert SECRET not in str(withheld.value) + caplog.text
    assert _nothing_logged(keyed_store)


@pytest.mark.parametrize("payload", OPAQUE, ids=lambda payload: repr(payload)[:20])
def test_by_choice_what_cannot_be_looked_into_is_released(
    keyed_store: SubjectStore, rows: Rows, caplog: pytest.LogCaptureFixture, payload: Any
) -> None:
    """Those who are known are recorded, and a warning says that others may not be."""
    with AuditedTools(AuditLog(keyed_store), actor="a", on_opaque="release") as tools:
        assert tools.after("read", payload, subjects="W-1") is payload

    assert [row["action"] for row in rows("W-1")] == ["read"]
    warning = caplog.records[0]
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith("read: the answer is released, although it holds what cannot be examined: ")
    assert SECRET not in caplog.text


def test_a_generator_is_released_unbegun(keyed_store: SubjectStore) -> None:
    """Looking into it would use it up."""
    answer = (record for record in [PERSON])
    with AuditedTools(AuditLog(keyed_store), actor="a", on_opaque="release") as tools:
        assert list(tools.after("read", answer)) == [PERSON]


def test_objects_too_deep_for_a_hash_are_recorded(
    tools: AuditedTools, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    """As what is nested too deeply as JSON is."""
    looped = Worker("W-1", SECRET)
    looped.error = looped  # type: ignore[assignment]

    tools.after("read", [looped])

    assert "payload_sha256" not in rows("W-1")[0]
    assert [record.getMessage() for record in caplog.records] == [
        "read: recorded without the hash of its payload: it is nested too deeply, or holds itself"
    ]


FORKING = """
import asyncio, os, sys
from subject_pipeline.errors import WithheldError
from subject_pipeline.gate import AuditedTools

tools = AuditedTools.open(sys.argv[1], key_ring=sys.argv[2], actor="a")
asyncio.run(tools.after_async("read", {"candidate_id": "W-1"}))  # now it has a thread, which no child has
for call in (
    lambda: tools.after("read", {"candidate_id": "W-1"}),
    lambda: asyncio.run(tools.after_async("read", {"candidate_id": "W-1"})),
):
    if os.fork() == 0:
        try:
            call()
        except WithheldError as error:
            os._exit(7 if "open it again after a fork" in str(error) else 8)
        os._exit(9)
    print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.long
def test_a_hook_from_before_a_fork_lets_nothing_out(tmp_path: Path, ring: KeyRingFile, rows: Rows) -> None:
    """In another process than it was opened in it withholds at once, with a reason, and does not hang."""
    command = [sys.executable, "-W", "ignore", "-c", FORKING, str(tmp_path / "store"), str(ring.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            told, _ = process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a child that hangs too

    assert told.split() == ["7", "7"]
    assert len(rows("W-1")) == 1


def test_any_object_store_serves(keyed_store: SubjectStore) -> None:
    """Over the client for buckets the same call leaves the same row."""
    bucket = _with(keyed_store, RemoteObjects(MemoryStore()))
    with AuditedTools(AuditLog(bucket), actor="a") as tools:
        tools.after("read", {"candidate_id": "W-1"})

    assert [stored["row"]["action"] for stored in show(bucket, "W-1")] == ["read"]


def test_a_hook_is_opened_from_the_environment(
    tmp_path: Path, ring: KeyRingFile, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store, ring and actor come from the settings; what is given wins over them."""
    monkeypatch.setenv("SUBJECT_STORE_URL", str(tmp_path / "store"))
    monkeypatch.setenv("SUBJECT_KEY_RING", str(ring.path))
    with AuditedTools.open() as tools:
        tools.after("read", {}, subjects=["W-1"])
    monkeypatch.setenv("SUBJECT_ACTOR", "robot")
    with AuditedTools.open() as tools:
        tools.after("read", {}, subjects=["W-1"])
    for name in ("SUBJECT_STORE_URL", "SUBJECT_KEY_RING"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    with AuditedTools.open(str(tmp_path / "store"), key_ring=ring.path, actor="ada", id_fields=["x"]) as tools:
        tools.after("read", {"x": "W-1"})

    assert [row["actor"] for row in rows("W-1")] == [getpass.getuser(), "robot", "ada"]


def test_a_gateway_that_could_record_nothing_does_not_start(
    keyed_store: SubjectStore, tmp_path: Path, ring: KeyRingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a ring, or with settings that contradict the store, opening raises what is wrong, and writes nothing."""
    url = str(tmp_path / "store")
    with pytest.raises(KeyRingError, match="keys new"):
        AuditedTools.open(url)
    with pytest.raises(KeyRingError, match="no such file"):
        AuditedTools.open(url, key_ring=tmp_path / "none.json", on_failure="release")
    assert not (tmp_path / "store").exists()

    keyed_store.layout_or_create()
    monkeypatch.setenv("SUBJECT_CHUNKS", "7")
    with pytest.raises(ConfigurationError, match=r"7 chunks .* 64"):
        AuditedTools.open(url, key_ring=ring.path)
