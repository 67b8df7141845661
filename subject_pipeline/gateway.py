"""The hook of a tool-calling gateway: no answer about a person goes out before the access to it is on record.

    with AuditedTools.open(actor="assistant") as tools:
        answer = read_worker(**arguments)
        answer = tools.after("read_worker", answer, subjects=arguments["candidate_id"], trace_id=trace)

`docs/gateway_example.py` is a whole loop. Importing this needs no Dagster.
"""

import asyncio
import contextvars
import logging
import os
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from subject_pipeline.domain.access_events import AccessEvent, new_event, payload_hash
from subject_pipeline.domain.result_state import audit_result_state
from subject_pipeline.errors import ConfigurationError, EventError, SubjectPipelineError, WithheldError
from subject_pipeline.storage.key_ring_file import KeyRingFile
from subject_pipeline.storage.settings import Settings, system_user
from subject_pipeline.use_cases.audit_log import AuditLog
from subject_pipeline.use_cases.store import SubjectStore

DEFAULT_ID_FIELDS = ("candidate_id", "subject_id")
MAX_FIELDS = 200
"""Names of fields that a row takes."""

OnFailure = Literal["withhold", "release"]
Payload = TypeVar("Payload")

_THREADS = 32
# Keys of a mapping may be data (a name, a number); a row takes only what looks like a field.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_SCALARS = frozenset({str, int, float, bool, type(None)})
_LOG = logging.getLogger(__name__)


class AuditedTools:
    """Records which people a tool's answer was about before the answer goes on: one row per distinct subject.

    Safe to share between threads and tasks. Values of the answer are never kept, only its result, its hash and the
    names of its fields.

    Args:
        log: where the rows go.
        actor: who calls the tools, where a call names nobody else.
        id_fields: the fields of an answer that hold a subject's id.
        on_failure: what becomes of an answer whose access cannot be recorded.

    Raises:
        ConfigurationError: `on_failure` is neither.
        EventError: an actor that no row can name.
    """

    def __init__(
        self,
        log: AuditLog,
        *,
        actor: str,
        id_fields: Sequence[str] = DEFAULT_ID_FIELDS,
        on_failure: OnFailure = "withhold",
    ) -> None:
        if on_failure not in get_args(OnFailure):
            raise ConfigurationError(f"on_failure must be one of {', '.join(get_args(OnFailure))}, not {on_failure!r}")
        self._log = log
        self._actor = actor
        self._id_fields = (id_fields,) if isinstance(id_fields, str) else tuple(id_fields)
        self._on_failure = on_failure
        # Not the loop's own threads: a store that hangs would starve all else that runs in them.
        self._threads = ThreadPoolExecutor(_THREADS, "audited-tools")
        self._pid = os.getpid()
        self._check("any")

    @classmethod
    def open(
        cls,
        store_url: str | None = None,
        *,
        key_ring: str | Path | None = None,
        actor: str | None = None,
        id_fields: Sequence[str] = DEFAULT_ID_FIELDS,
        on_failure: OnFailure = "withhold",
    ) -> Self:
        """The hook of a store. What is not given comes from the environment.

        Ring and store are looked at now, so that a gateway that could record nothing does not start.

        Args:
            store_url: the store's URL or folder; else `$SUBJECT_STORE_URL`, else `./data`.
            key_ring: the key ring's file, a writer's copy will do; else `$SUBJECT_KEY_RING`.
            actor: who calls the tools; else `$SUBJECT_ACTOR`, else the system user.
            id_fields: as of the class.
            on_failure: as of the class.

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
        log = AuditLog(store, ring)
        return cls(log, actor=actor or settings.actor or system_user(), id_fields=id_fields, on_failure=on_failure)

    def after(
        self,
        action: str,
        payload: Payload,
        *,
        subjects: str | Iterable[str] = (),
        actor: str | None = None,
        purpose: str | None = None,
        trace_id: str | None = None,
        dataset: str | None = None,
        event_id: str | None = None,
    ) -> Payload:
        """Return the payload once the access to it is on record; to be called after a tool, before its answer goes on.

        Subjects are those given and those that the payload names (`find_subjects`), each once; of nobody, nothing is
        recorded. The rows' `result` is `audit_result_state` of the payload. A payload without canonical JSON (a
        datetime in it, an integer beyond 2^53) is recorded without `payload_sha256`, with a warning in the log. Text
        and objects are not looked into: of such an answer give the subjects, or its JSON values as the payload.

        Args:
            action: what was done, such as the tool's name.
            payload: the tool's answer; a tool that raised has one too, such as `{"error": "TimeoutError"}`.
            subjects: one id or more, from the tool's arguments: a denied or failed answer often names nobody.
            actor: on whose behalf, if not the hook's own actor.
            purpose: what for.
            trace_id: of the request.
            dataset: where the data are from.
            event_id: the id of this one call, for a caller that may record it again: within a UTC month, rows of one
                subject with one id are one row, so an id that another call had hides this one. Default: a random one.

        Raises:
            EventError: an action that no row can name; `manifest_*` is the registry's own. Nothing was appended.
            WithheldError: the access could not be recorded; the cause says why. Rows of it may be there all the same.
                With `release` that is logged as an error instead, and the payload returned.
        """
        self._check(action)
        try:
            events = self._events(
                action,
                payload,
                (subjects,) if isinstance(subjects, str) else subjects,
                event_id=uuid.uuid4().hex if event_id is None else event_id,
                actor=self._actor if actor is None else actor,
                optional={"purpose": purpose, "trace_id": trace_id, "dataset": dataset},
            )
            if events:
                self._log.append(events, unique=event_id is None)
            else:
                _LOG.debug("%s: the answer names no subject; nothing is recorded", action)
        except Exception as error:  # noqa: BLE001 - a mapping that fails to be read must not let the answer go either
            self._not_recorded(action, error)
        return payload

    async def after_async(
        self,
        action: str,
        payload: Payload,
        *,
        subjects: str | Iterable[str] = (),
        actor: str | None = None,
        purpose: str | None = None,
        trace_id: str | None = None,
        dataset: str | None = None,
        event_id: str | None = None,
    ) -> Payload:
        """As `after`, without blocking the event loop; nobody may change the payload meanwhile.

        If the task is cancelled, or a timeout around it strikes, the answer does not go out, but rows under way may
        still land: they record an access that was prepared and not made.
        """

        def call() -> Payload:
            return self.after(
                action,
                payload,
                subjects=subjects,
                actor=actor,
                purpose=purpose,
                trace_id=trace_id,
                dataset=dataset,
                event_id=event_id,
            )

        if os.getpid() != self._pid:
            return call()  # the threads stayed behind at the fork, so waiting for one would hang; the log refuses
        context = contextvars.copy_context()
        try:
            under_way = asyncio.get_running_loop().run_in_executor(self._threads, lambda: context.run(call))
        except RuntimeError as error:  # closed, or out of threads
            self._not_recorded(action, error)
            return payload
        return await under_way

    def close(self) -> None:
        """Wait for what is under way; what `after` returned from is on disk without it. Then the hook is done."""
        self._threads.shutdown(wait=True)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _not_recorded(self, action: str, error: Exception) -> None:
        # Others' errors may quote the answer; ours never do.
        reason = str(error) if isinstance(error, SubjectPipelineError) else type(error).__name__
        if self._on_failure != "release":
            raise WithheldError(
                f"the answer of {action} is withheld, because the access to it could not be recorded: {reason}"
            ) from error
        _LOG.error("%s: the answer is released, but the access to it was not recorded: %s", action, reason)

    def _check(self, action: str) -> None:
        """Refuse what no row could carry, whoever it is about."""
        new_event(
            candidate_id="any",
            event_id="any",
            ts="1970-01-01T00:00:00.000000Z",
            actor=self._actor,
            action=action,
            result="success",
        )

    def _events(
        self,
        action: str,
        payload: object,
        given: Iterable[str],
        *,
        event_id: str,
        actor: str,
        optional: Mapping[str, Any],
    ) -> list[AccessEvent]:
        found = find_subjects(payload, self._id_fields)
        subjects = {subject: found.get(subject, ()) for subject in (*given, *found)}
        if not subjects:
            return []
        ts, result, payload_sha256 = self._log.now(), audit_result_state(payload), _hash(action, payload)
        return [
            new_event(
                candidate_id=subject,
                event_id=event_id,
                ts=ts,
                actor=actor,
                action=action,
                result=result,
                payload_sha256=payload_sha256,
                optional={**optional, "fields": sorted(names)[:MAX_FIELDS]},
            )
            for subject, names in subjects.items()
        ]


def find_subjects(payload: object, id_fields: Collection[str]) -> dict[str, set[str]]:
    """The subjects that a payload names, in order of first sight, each with the names of its records' fields.

    A record is a mapping that has an id field, wherever it lies: the payload itself, in lists, below other fields; an
    envelope of any shape must not hide a person. An id is text, or one of a list of texts. Numbers are none, for an id
    has its dataset's prefix; a field that holds one is warned of.

    Args:
        payload: JSON values; tuples and other mappings count as lists and dicts, anything else is not looked into.
        id_fields: names of the fields that hold ids.

    Returns:
        Names that look like identifiers, of up to 64 characters, without the id fields. Of a subject whose records
        have no others: none.
    """
    found: dict[str, set[str]] = {}
    numbers: set[str] = set()
    shapes: dict[tuple[object, ...], set[str]] = {}  # thousands of records have the same few
    seen: dict[int, object] = {}  # holds what it has seen, so that no address is used again
    waiting = [payload]
    while waiting:
        value = waiting.pop()
        if type(value) in _SCALARS or id(value) in seen or not isinstance(value, Mapping | list | tuple):
            continue
        seen[id(value)] = value
        if not isinstance(value, Mapping):
            waiting.extend(reversed(value))
            continue
        shape = tuple(value)
        for subject in _ids(value, id_fields, numbers):
            if shape not in shapes:
                shapes[shape] = {
                    name for name in shape if isinstance(name, str) and name not in id_fields and _FIELD.fullmatch(name)
                }
            found.setdefault(subject, set()).update(shapes[shape])
        waiting.extend(reversed(list(value.values())))
    for name in sorted(numbers):
        _LOG.warning("an answer's %s holds a number, which names no subject: an id is text", name)
    return found


def _ids(record: Mapping[object, object], id_fields: Collection[str], numbers: set[str]) -> Iterator[str]:
    for name in id_fields:
        value = record.get(name)
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, str):
                yield one
            elif isinstance(one, int | float):
                numbers.add(name)


def _hash(action: str, payload: object) -> str | None:
    try:
        return payload_hash(payload)
    except EventError as error:
        _LOG.warning("%s: recorded without the hash of its %s", action, error)  # names kinds, never content
        return None
