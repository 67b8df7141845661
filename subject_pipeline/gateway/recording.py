"""The hook of a tool-calling gateway: no answer about a person is released before the access is on record.

    with AuditedTools.open(actor="assistant") as tools:
        answer = read_worker(**arguments)
        answer = tools.after("read_worker", answer, subjects=arguments["candidate_id"], trace_id=trace)

`docs/gateway_example.py` is a whole loop. Importing this needs no Dagster.

It is longer than other files because its guarantee is one: everything between a call and its release is here.
"""

import asyncio
import contextvars
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypedDict, TypeVar, Unpack, get_args

from subject_pipeline.audit.events import (
    AccessEvent,
    checked_action,
    checked_actor,
    new_event,
    payload_hash,
)
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.result_state import audit_result_state
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.errors import (
    ConfigurationError,
    EventError,
    OutcomeUnknownError,
    StoreError,
    SubjectPipelineError,
    WithheldError,
)
from subject_pipeline.gateway.answers import as_json, find_subjects
from subject_pipeline.gateway.daemon_threads import DaemonThreads
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.settings import Settings, system_user
from subject_pipeline.store.opened import SubjectStore

DEFAULT_ID_FIELDS = ("candidate_id", "subject_id")
DEFAULT_TIMEOUT = 10.0
"""Seconds."""
MAX_FIELDS = 200
"""How many names of fields a row takes."""

Choice = Literal["withhold", "release"]
Payload = TypeVar("Payload")

_THREADS = 32
_LOG = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """How a hook works; what is not given is as in `AuditedTools`."""

    id_fields: Sequence[str]
    on_failure: Choice
    on_opaque: Choice
    timeout: float


class Told(TypedDict, total=False):
    """What a caller may say about one call.

    Attributes:
        subjects: one id or more, from the tool's arguments: a denied or failed answer often names nobody.
        actor: on whose behalf, if not the hook's own actor.
        purpose: what for.
        trace_id: of the request.
        dataset: where the data are from.
        event_id: the id of this one call, for a caller that may record it again: within a UTC month, rows of one
            subject with one id are one row, so an id that another call had hides this one. Default: a random one.
    """

    subjects: str | Iterable[str]
    actor: str | None
    purpose: str | None
    trace_id: str | None
    dataset: str | None
    event_id: str | None


class AuditedTools:
    """Records which people a tool's answer is about before the answer is released: one row per distinct subject.

    Safe to share between threads and tasks. Values of the answer are never kept, only its result, its hash and the
    names of its fields.

    Args:
        log: where the rows go.
        actor: who calls the tools, if a call names nobody else.
        id_fields: the fields of an answer that hold a subject's id, in whatever case style: `candidate_id` is
            `candidateId`, `CandidateID` and `candidate-id` too.
        on_failure: what becomes of an answer whose access cannot be recorded.
        on_opaque: what becomes of an answer that holds something that cannot be examined, and so may name people whom
            no row would name: `subject_pipeline.gateway.answers` says what that is.
        timeout: seconds after which an access that is not on record counts as one that cannot be recorded.

    Raises:
        ConfigurationError: a choice that is neither, or a timeout that is none.
        EventError: an actor that no row can name.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        actor: str,
        id_fields: Sequence[str] = DEFAULT_ID_FIELDS,
        on_failure: Choice = "withhold",
        on_opaque: Choice = "withhold",
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        for name, choice in (("on_failure", on_failure), ("on_opaque", on_opaque)):
            if choice not in get_args(Choice):
                raise ConfigurationError(f"{name} must be one of {', '.join(get_args(Choice))}, not {choice!r}")
        if not isinstance(timeout, int | float) or not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ConfigurationError(f"timeout must be a number of seconds above 0, such as 10, not {timeout!r}")
        self._log = log
        self._actor = checked_actor(actor)
        self._id_fields = (id_fields,) if isinstance(id_fields, str) else tuple(id_fields)
        self._on_failure = on_failure
        self._on_opaque = on_opaque
        self._timeout = timeout
        # A thread that waits for a store cannot stop waiting; and the event loop's own threads would run out.
        self._threads = DaemonThreads(_THREADS, "audited-tools")
        weakref.finalize(self, self._threads.close, 0).atexit = False
        self._pid = os.getpid()

    @classmethod
    def open(
        cls,
        store_url: str | None = None,
        *,
        key_ring: str | Path | None = None,
        actor: str | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """The hook of a store. What is not given comes from the environment.

        Ring and store are checked now, so that a gateway that could not record anything does not start.

        Args:
            store_url: the store's URL or folder; else `$SUBJECT_STORE_URL`, else `./data`.
            key_ring: the key ring's file, a writer's copy is enough; else `$SUBJECT_KEY_RING`.
            actor: who calls the tools; else `$SUBJECT_ACTOR`, else the system user.
            options: as of the class.

        Raises:
            KeyRingError: there is no usable key ring; the message says how to make one.
            ConfigurationError: a setting that cannot be used, or contradicts the store's layout.
            EventError: an actor that no row can name.
            StoreError: the store failed.
        """
        settings = Settings.read(os.environ)
        named = key_ring or settings.key_ring
        ring = KeyRingFile(Path(named).expanduser() if named else None)
        ring.ring()
        store = SubjectStore.at(store_url or settings.store_url, wanted_chunks=settings.chunks)
        store.layout()
        return cls(open_audit_log(store, ring), actor=actor or settings.actor or system_user(), **options)

    def after(self, action: str, payload: Payload, **told: Unpack[Told]) -> Payload:
        """Return the payload once the access is on record; to be called after a tool, before its answer is released.

        Subjects are those given and those that the payload names (`find_subjects`), each once; if there are none,
        nothing is recorded. The rows' `result` is `audit_result_state` of the payload, of its fields if it is an
        object, of what it says if it is JSON text. Their `payload_sha256` is of its canonical JSON, with the fields of
        objects as in `as_json`; a payload that has none (a datetime in it, an integer beyond 2^53) is recorded without,
        with a warning in the log.

        Args:
            action: what was done, such as the tool's name.
            payload: the tool's answer; a tool that raised has one too, such as `{"error": "TimeoutError"}`. Returned
                as it is.
            told: see `Told`.

        Raises:
            EventError: an action that no row can name; `manifest_*` is the registry's own. Nothing was appended.
            WithheldError: the access could not be recorded, or not in time; the cause says why. Rows of it may be
                there all the same, or still arrive. With `on_failure="release"` that is logged as an error instead, and
                the payload returned. Or: the payload holds what cannot be examined; nothing was appended. With
                `on_opaque="release"` that is logged as a warning instead.
        """
        under_way = self._start(action, payload, told)
        try:
            failure = under_way.result(self._timeout)
        except TimeoutError:  # of the waiting: what the thread raises is returned
            failure = self._late(under_way)
        finally:
            under_way.cancel()  # what no thread has begun is not to be recorded when nobody waits for it
        self._settle(action, failure)
        return payload

    async def after_async(self, action: str, payload: Payload, **told: Unpack[Told]) -> Payload:
        """As `after`, without blocking the event loop; nobody may change the payload meanwhile.

        If the task is cancelled, or a timeout around it ends it, the answer is not released, but rows under way may
        still arrive: they record an access that was prepared and not made.
        """
        under_way = self._start(action, payload, told)
        try:
            async with asyncio.timeout(self._timeout):
                failure = await asyncio.wrap_future(under_way)
        except TimeoutError:
            failure = self._late(under_way)
        self._settle(action, failure)
        return payload

    def close(self) -> None:
        """Wait for what is under way, at most `timeout` seconds; what `after` returned from is on disk without it.

        Then the hook is closed: everything that comes later is withheld. What a store that hangs has not answered by
        then is logged as an error and abandoned.
        """
        if os.getpid() != self._pid:
            return  # the process that forked closes it; its threads are not in this one
        ends = time.monotonic() + self._timeout
        if left := self._threads.close(self._timeout):
            _LOG.error("closed, but the store has not answered %d calls yet; their rows may still arrive", left)
            return
        closer = DaemonThreads(1, "audited-tools-close")
        closing = closer.submit(self._log.close)
        if closer.close(max(0.0, ends - time.monotonic())) or closing.cancelled():  # it ran out of time, or never began
            _LOG.error("closed, but the store has not taken the audit log's index yet; a later append writes it")
        else:
            closing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _start(self, action: str, payload: object, told: Told) -> Future[Exception | None]:
        """Begin to record in a thread, in the caller's context; what is raised there is the future's result."""
        if unknown := told.keys() - Told.__annotations__.keys():
            raise TypeError(f"unknown arguments {', '.join(sorted(unknown))}; see subject_pipeline.gateway.Told")
        checked_action(action)
        failed: Future[Exception | None] = Future()
        if os.getpid() != self._pid:
            failed.set_result(
                StoreError("the hook was opened in another process; open it again after a fork, or use spawn")
            )
            return failed
        record = partial(contextvars.copy_context().run, self._record, action, payload, told)
        try:
            return self._threads.submit(record)
        except RuntimeError as error:
            failed.set_result(StoreError(f"no thread takes it: {error}"))
            return failed

    def _record(self, action: str, payload: object, told: Told) -> Exception | None:
        try:
            events = self._events(action, payload, told)
            if events:
                self._log.append(events, unique=told.get("event_id") is None)
            else:
                _LOG.debug("%s: the answer names no subject; nothing is recorded", action)
        except Exception as error:  # noqa: BLE001 - a mapping that cannot be read must not release the answer either
            return error
        return None

    def _late(self, under_way: Future[Exception | None]) -> StoreError:
        if under_way.cancel():
            return StoreError(
                f"the {_THREADS} calls that are recorded at once left no room for it within {self._timeout:g} s;"
                " nothing was appended; is the store reachable?"
            )
        return OutcomeUnknownError(f"not on record within {self._timeout:g} s; its rows may still arrive")

    def _settle(self, action: str, failure: Exception | None) -> None:
        if failure is None:
            return
        if isinstance(failure, WithheldError):
            raise failure
        # Others' errors may quote the answer; ours never do.
        reason = str(failure) if isinstance(failure, SubjectPipelineError) else type(failure).__name__
        if self._on_failure != "release":
            raise WithheldError(
                f"the answer of {action} is withheld, because the access could not be recorded: {reason}"
            ) from failure
        _LOG.error("%s: the answer is released, but the access was not recorded: %s", action, reason)

    def _events(self, action: str, payload: object, told: Told) -> list[AccessEvent]:
        found = find_subjects(payload, self._id_fields)
        if found.opaque:
            self._check_opaque(action, ", ".join(sorted(found.opaque)))
        given = told.get("subjects", ())
        subjects = dict.fromkeys(((given,) if isinstance(given, str) else tuple(given)) + tuple(found.subjects))
        if not subjects:
            return []
        event_id, actor = told.get("event_id"), told.get("actor")
        checked = partial(
            new_event,
            event_id=uuid.uuid4().hex if event_id is None else event_id,
            ts=self._log.now(),
            actor=self._actor if actor is None else actor,
            action=action,
            result=audit_result_state(found.top),
            payload_sha256=_hash(action, payload, has_objects=found.has_objects),
        )
        return [
            checked(
                candidate_id=subject,
                optional={**told, "fields": sorted(found.subjects.get(subject, ()))[:MAX_FIELDS]},
            )
            for subject in subjects
        ]

    def _check_opaque(self, action: str, kinds: str) -> None:
        if self._on_opaque != "release":
            raise WithheldError(
                f"the answer of {action} is withheld, because it holds what cannot be examined for people: {kinds};"
                " give its content as JSON values, or open the hook with on_opaque='release'"
            )
        _LOG.warning("%s: the answer is released, although it holds what cannot be examined: %s", action, kinds)


def _hash(action: str, payload: object, *, has_objects: bool) -> str | None:
    try:
        return payload_hash(as_json(payload) if has_objects else payload)
    except EventError as error:
        _LOG.warning("%s: recorded without the hash of its %s", action, error)  # names kinds, never content
    except RecursionError:
        _LOG.warning("%s: recorded without the hash of its payload: it is nested too deeply, or holds itself", action)
    return None
