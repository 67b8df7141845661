"""The gate: it decides before a tool is called, records, and releases of the answer only what may be shown.

    with SubjectGate.open(policy="gate.yaml") as gate:
        permit = gate.before("read_worker", subjects=[worker], purpose="scheduling", actor="agent:7")
        answer = gate.after("read_worker", read_worker(worker), permit=permit)

An answer goes out only when all of this holds of everybody whom it is about: the purpose is one of the policy's, their
manifest can be read and allows it by the log's last word, and the access is on record. In any other case it does not.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar, Unpack

from subject_pipeline.audit.events import checked_action, checked_subject
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import (
    DeniedError,
    WithheldError,
)
from subject_pipeline.gate.cache import ManifestCache
from subject_pipeline.gate.call import Call, Permit, Told, check_told, told_subjects
from subject_pipeline.gate.deciding import Deciding, Rulings
from subject_pipeline.gate.hook import Hook, opened_log, told_reason
from subject_pipeline.gate.policy_file import ReadPolicy, read_policy
from subject_pipeline.gate.releasing import Releasing, counted

Payload = TypeVar("Payload")

_FEW = 32
"""Subjects that are decided about from memory in the event loop; of more, making their manifests would block it."""


class SubjectGate(Hook):
    """Lets no answer about a person out unless the policy allows it by their manifest, and it is on record.

    Safe to share between threads and tasks. A denial is on record too, one row for each subject, with its reason.

    Args:
        log: of the store.
        read: the policy.
        actor: who calls the tools, if a call names nobody else.

    Raises:
        EventError: an actor that no row can name.
    """

    def __init__(self, log: AuditLog, read: ReadPolicy, *, actor: str) -> None:
        super().__init__(log, actor=actor, timeout=read.policy.timeout)
        self._read = read
        self._deciding = Deciding(log, read, ManifestCache(log, read.policy.max_age))
        self._releasing = Releasing(read.policy, self._deciding)

    @classmethod
    def open(
        cls,
        store_url: str | None = None,
        *,
        policy: str | Path,
        key_ring: str | Path | None = None,
        actor: str | None = None,
    ) -> Self:
        """The gate of a store, by a policy file. What is not given comes from the environment.

        Policy, ring and store are checked now. What reads manifests is loaded by the first `before`.

        Args:
            store_url: the store's URL or folder; else `$SUBJECT_STORE_URL`, else `./data`.
            policy: the policy's file.
            key_ring: the key ring's file, a writer's copy is enough; else `$SUBJECT_KEY_RING`.
            actor: who calls the tools; else `$SUBJECT_ACTOR`, else the system user.

        Raises:
            PolicyError: the policy cannot be used; the message names file, line and key.
            KeyRingError: there is no usable key ring; the message says how to make one.
            ConfigurationError: no store is there, or a setting cannot be used, or contradicts the store's layout.
            EventError: an actor that no row can name.
            StoreError: the store failed.
        """
        read = read_policy(policy)
        log, actor = opened_log(store_url, key_ring, actor)
        log.store.check_written()
        return cls(log, read, actor=actor)

    @property
    def ids(self) -> Mapping[str, str]:
        """The fields that hold ids, and their prefixes, as the policy says."""
        return self._read.policy.ids

    def before(self, action: str, **told: Unpack[Told]) -> Permit:
        """Decide whom a tool may be called about; denials are on record when this returns or raises.

        Without subjects, as for a tool that lists people, only the purpose is looked at.

        Args:
            action: what is to be done, such as the tool's name.
            told: see `Told`; a purpose is needed.

        Raises:
            DeniedError: subjects were given and none of them may be shown, or the purpose is not allowed.
            WithheldError: some may be shown, but the denials of the others could not be recorded.
            EventError: something that no row can name. Nothing was recorded.
        """
        call, subjects = self._checked(action, told)
        rulings = self._deciding.at_once(told, subjects)
        if rulings is None or rulings.denied:
            try:
                outcome = self._in_time(partial(self._decided, call, subjects, rulings))
            except Exception as error:  # noqa: BLE001 - whatever happens, it must deny
                outcome = self._deciding.unread(told, subjects), error
            return self._permit(call, *outcome)
        return self._permit(call, rulings, None)

    async def before_async(self, action: str, **told: Unpack[Told]) -> Permit:
        """As `before`, without blocking the event loop."""
        call, subjects = self._checked(action, told)
        rulings = self._deciding.at_once(told, subjects) if len(subjects) <= _FEW else None
        if rulings is None or rulings.denied:
            try:
                outcome = await self._in_time_async(partial(self._decided, call, subjects, rulings))
            except Exception as error:  # noqa: BLE001 - as above
                outcome = self._deciding.unread(told, subjects), error
            return self._permit(call, *outcome)
        return self._permit(call, rulings, None)

    def after(self, action: str, payload: Payload, *, permit: Permit) -> Payload:
        """What may be shown of an answer, once it is on record. To be called after a tool, before anybody sees it.

        Whom the answer is about is decided now, whatever the permit says: those whom it allows, and everybody whom the
        answer names. If a decision about one of them is recorded meanwhile, it counts.

        Args:
            action: that of the permit.
            payload: the tool's answer; left as it is.
            permit: of this call.

        Returns:
            A copy of the payload, where the policy says `drop` without the records of those who may not be shown.

        Raises:
            WithheldError: it names somebody who may not be shown, or holds what cannot be examined, or could not be
                recorded, or not in time; the message says which, and nothing of the answer.
        """
        try:
            return self._in_time(self._release(action, payload, permit))
        except Exception as error:  # noqa: BLE001 - whatever happens, it must withhold
            _withhold(action, error)

    async def after_async(self, action: str, payload: Payload, *, permit: Permit) -> Payload:
        """As `after`, without blocking the event loop."""
        try:
            return await self._in_time_async(self._release(action, payload, permit))
        except Exception as error:  # noqa: BLE001 - as above
            _withhold(action, error)

    def guard(self, action: str, call: Callable[[], Payload], **told: Unpack[Told]) -> Payload:
        """Both around a call: `before`, then the call, then `after`.

        The call is about all the subjects: if some are denied, their records must be in the answer, to be dropped.

        Args:
            action: as in `before`.
            call: calls the tool.
            told: as in `before`.

        Raises:
            DeniedError: as in `before`; the tool was not called.
            WithheldError: as in `before` and `after`; or the tool raised, which is recorded as an error. What it raised
                may quote the answer: it is the cause, and not in the message.
            EventError: as in `before`.
        """
        permit = self.before(action, **told)
        try:
            payload = call()
        except Exception as error:
            self.after(action, _failure(error), permit=permit)
            raise WithheldError(_raised(action, error)) from error
        return self.after(action, payload, permit=_of_all(permit))

    async def guard_async(self, action: str, call: Callable[[], Awaitable[Payload]], **told: Unpack[Told]) -> Payload:
        """As `guard`, of a coroutine function."""
        permit = await self.before_async(action, **told)
        try:
            payload = await call()
        except Exception as error:
            await self.after_async(action, _failure(error), permit=permit)
            raise WithheldError(_raised(action, error)) from error
        return await self.after_async(action, payload, permit=_of_all(permit))

    def _checked(self, action: str, told: Told) -> tuple[Call, tuple[str, ...]]:
        """The call and its subjects; what no row could name is refused now."""
        check_told(told)
        checked_action(action)
        subjects = tuple(map(checked_subject, told_subjects(told)))
        rest: Told = {name: value for name, value in told.items() if name != "subjects"}  # type: ignore[assignment]
        call = Call(action, rest, self._actor)
        call.row("-", call.denied_id, self._log.now(), "denied")
        return call, subjects

    def _release(self, action: str, payload: Payload, permit: Permit) -> Callable[[], Payload]:
        return partial(self._releasing.release, Call(action, permit.told, self._actor), payload, permit)

    def _decided(
        self, call: Call, subjects: tuple[str, ...], rulings: Rulings | None
    ) -> tuple[Rulings, Exception | None]:
        """What is decided, and why the denials in it could not be recorded, if so."""
        made = rulings or self._deciding.decide(call.told, subjects)
        try:
            self._deciding.record(call, self._deciding.denials(call, made, {}), made)
        except Exception as error:  # noqa: BLE001 - raised where it is told
            return made, error
        return made, None

    def _permit(self, call: Call, rulings: Rulings, failure: Exception | None) -> Permit:
        denied, allowed = rulings.denied, rulings.allowed
        if not allowed and (denied or self._deciding.purpose(call.told) is None):
            said = counted(denied.values()) or "purpose_not_allowed"
            unrecorded = f"; this could not be recorded: {told_reason(failure)}" if failure is not None else ""
            raise DeniedError(
                f"{call.action} is denied: {said}{unrecorded}", denied, recorded=bool(denied) and failure is None
            ) from failure
        if failure is not None:
            raise WithheldError(
                f"{call.action} is not to be called: the denial of some of its subjects could not be recorded: "
                f"{told_reason(failure)}"
            ) from failure
        return Permit(call.action, allowed, denied, call.told)


def _of_all(permit: Permit) -> Permit:
    """The permit after a call that was not told of it, and so was made about the denied too."""
    return replace(permit, allowed=(*permit.allowed, *permit.denied))


def _withhold(action: str, error: Exception) -> NoReturn:
    if isinstance(error, WithheldError):
        raise error
    raise WithheldError(
        f"the answer of {action} is withheld, because it could not be recorded: {told_reason(error)}"
    ) from error


def _failure(error: Exception) -> Any:  # noqa: ANN401 - in the place of an answer of any type
    return {"error": type(error).__name__}


def _raised(action: str, error: Exception) -> str:
    return f"{action} raised {type(error).__name__}; that is recorded, and nothing of it is released"
