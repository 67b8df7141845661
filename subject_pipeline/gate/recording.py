"""The hook of a tool-calling gateway: no answer about a person is released before the access is on record.

    with AuditedTools.open(actor="assistant") as tools:
        answer = read_worker(**arguments)
        answer = tools.after("read_worker", answer, subjects=arguments["candidate_id"], trace_id=trace)

`docs/gateway_example.py` is a whole loop. Importing this needs no Dagster.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypedDict, TypeVar, Unpack, get_args

from subject_pipeline.audit.events import AccessEvent, checked_action, payload_hash
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.result_state import audit_result_state
from subject_pipeline.errors import ConfigurationError, EventError, WithheldError
from subject_pipeline.gate.answers.finding import find_subjects
from subject_pipeline.gate.answers.opened import as_json
from subject_pipeline.gate.call import Call, Told, check_told, told_subjects
from subject_pipeline.gate.hook import Hook, opened_log, told_reason

DEFAULT_ID_FIELDS = ("candidate_id", "subject_id")
DEFAULT_TIMEOUT = 10.0
"""Seconds."""

Choice = Literal["withhold", "release"]
Payload = TypeVar("Payload")

_LOG = logging.getLogger(__name__)


class Options(TypedDict, total=False):
    """How a hook works; what is not given is as in `AuditedTools`."""

    id_fields: Sequence[str]
    on_failure: Choice
    on_opaque: Choice
    timeout: float


class AuditedTools(Hook):
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
            no row would name: `subject_pipeline.gate.answers` says what that is.
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
        super().__init__(log, actor=actor, timeout=timeout)
        self._id_fields = (id_fields,) if isinstance(id_fields, str) else tuple(id_fields)
        self._on_failure = on_failure
        self._on_opaque = on_opaque

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
        log, actor = opened_log(store_url, key_ring, actor)
        return cls(log, actor=actor, **options)

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
        record = self._recording(action, payload, told)
        try:
            self._in_time(record)
        except Exception as error:  # noqa: BLE001 - a mapping that cannot be read must not release the answer either
            self._settle(action, error)
        return payload

    async def after_async(self, action: str, payload: Payload, **told: Unpack[Told]) -> Payload:
        """As `after`, without blocking the event loop; nobody may change the payload meanwhile.

        If the task is cancelled, or a timeout around it ends it, the answer is not released, but rows under way may
        still arrive: they record an access that was prepared and not made.
        """
        record = self._recording(action, payload, told)
        try:
            await self._in_time_async(record)
        except Exception as error:  # noqa: BLE001 - as above
            self._settle(action, error)
        return payload

    def _recording(self, action: str, payload: object, told: Told) -> "partial[None]":
        """What is to be done in time; what the caller got wrong is raised at once."""
        check_told(told)
        checked_action(action)
        return partial(self._record, action, payload, told)

    def _record(self, action: str, payload: object, told: Told) -> None:
        events = self._events(action, payload, told)
        if events:
            self._log.append(events, unique=told.get("event_id") is None)
        else:
            _LOG.debug("%s: the answer names no subject; nothing is recorded", action)

    def _settle(self, action: str, failure: Exception) -> None:
        if isinstance(failure, WithheldError):
            raise failure
        reason = told_reason(failure)
        if self._on_failure != "release":
            raise WithheldError(
                f"the answer of {action} is withheld, because the access could not be recorded: {reason}"
            ) from failure
        _LOG.error("%s: the answer is released, but the access was not recorded: %s", action, reason)

    def _events(self, action: str, payload: object, told: Told) -> list[AccessEvent]:
        found = find_subjects(payload, self._id_fields)
        if found.opaque:
            self._check_opaque(action, ", ".join(sorted(found.opaque)))
        subjects = dict.fromkeys((*told_subjects(told), *found.subjects))
        if not subjects:
            return []
        call, result = Call(action, told, self._actor), audit_result_state(found.top)
        digest, now = payload_digest(action, payload, has_objects=found.has_objects), self._log.now()
        event_id = call.shown_id(digest)
        return [call.row(one, event_id, now, result, found.subjects.get(one, ()), digest) for one in subjects]

    def _check_opaque(self, action: str, kinds: str) -> None:
        if self._on_opaque != "release":
            raise WithheldError(
                f"the answer of {action} is withheld, because it holds what cannot be examined for people: {kinds};"
                " give its content as JSON values, or open the hook with on_opaque='release'"
            )
        _LOG.warning("%s: the answer is released, although it holds what cannot be examined: %s", action, kinds)


def payload_digest(action: str, payload: object, *, has_objects: bool) -> str | None:
    """The SHA-256 of a payload as rows hold it; None, with a warning in the log, where it has no canonical JSON."""
    try:
        return payload_hash(as_json(payload) if has_objects else payload)
    except EventError as error:
        _LOG.warning("%s: recorded without the hash of its %s", action, error)  # names kinds, never content
    except RecursionError:
        _LOG.warning("%s: recorded without the hash of its payload: it is nested too deeply, or holds itself", action)
    return None
