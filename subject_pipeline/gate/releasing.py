"""What the gate does after a call: it decides on everybody in the answer, records, and gives what may be shown."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypeVar

from subject_pipeline.audit.result_state import audit_result_state
from subject_pipeline.errors import OvertakenError, StoreError, WithheldError
from subject_pipeline.gate.answers.dropping import WITHHELD, without
from subject_pipeline.gate.answers.finding import Found, find_subjects
from subject_pipeline.gate.answers.opened import copied
from subject_pipeline.gate.call import Call, Permit
from subject_pipeline.gate.deciding import Deciding
from subject_pipeline.gate.policy import GatePolicy
from subject_pipeline.gate.recording import payload_digest

Payload = TypeVar("Payload")

_ATTEMPTS = 8
_LOG = logging.getLogger(__name__)


class Releasing:
    """Releases answers by one policy.

    Args:
        policy: what it says of answers.
        deciding: decides on people, and records.
    """

    def __init__(self, policy: GatePolicy, deciding: Deciding) -> None:
        self._policy = policy
        self._deciding = deciding

    def release(self, call: Call, payload: Payload, permit: Permit) -> Payload:
        """What may be shown of an answer, once it is on record.

        Raises:
            WithheldError: it names somebody who may not be shown, or holds what cannot be examined.
            StoreError: it could not be recorded.
        """
        action = call.action
        if permit.action != action:
            raise WithheldError(f"the answer of {action} is withheld: its permit is for another action")
        answer = copied(payload)
        found = find_subjects(answer, self._policy.ids)
        if found.opaque:
            self._check_opaque(action, ", ".join(sorted(found.opaque)))
        for attempt in range(_ATTEMPTS):
            try:
                shown: Payload = self._shown(call, answer, found, permit, again=attempt > 0)
            except OvertakenError:
                continue
            return shown
        raise StoreError("decisions about its subjects kept being made meanwhile; call again")

    def _shown(self, call: Call, answer: Any, found: Found, permit: Permit, *, again: bool) -> Any:  # noqa: ANN401
        """Decide on everybody, record, and give what may be shown.

        Raises:
            OvertakenError: somebody was decided about meanwhile.
            WithheldError: nothing may be shown.
        """
        people = dict.fromkeys((*permit.allowed, *found.subjects))
        rulings = self._deciding.decide(call.told, people, again=again)
        denied = rulings.denied
        events = self._deciding.denials(call, rulings, permit.denied)
        shown = self._without(answer, found, denied, call) if denied else answer
        if shown is not WITHHELD:
            names = find_subjects(shown, self._policy.ids) if denied else found
            digest = payload_digest(call.action, shown, has_objects=names.has_objects)
            asked = [one for one in permit.allowed if one not in denied]
            fields = {one: names.subjects.get(one, set()) for one in (*asked, *names.subjects)}
            events += self._deciding.accesses(call, rulings, fields, audit_result_state(names.top), digest)
        self._deciding.record(call, events, rulings)
        if shown is WITHHELD:
            raise WithheldError(
                f"the answer of {call.action} is withheld, because it is about people who may not be shown: "
                f"{counted(denied.values())}"
            )
        return shown

    def _without(self, answer: object, found: Found, denied: dict[str, str], call: Call) -> object:
        """The answer without the denied, where the policy says so and it is about them by their records alone."""
        purpose = self._deciding.purpose(call.told)
        if purpose is None or purpose.others == "withhold" or not denied.keys() <= found.subjects.keys():
            return WITHHELD
        return without(answer, denied, self._policy.ids)

    def _check_opaque(self, action: str, kinds: str) -> None:
        if self._policy.deny_opaque:
            raise WithheldError(
                f"the answer of {action} is withheld, because it holds what cannot be examined for people: {kinds};"
                " give its content as JSON values, or set deny_opaque: false in the policy"
            )
        _LOG.warning("%s: the answer is released, although it holds what cannot be examined: %s", action, kinds)


def counted(reasons: Iterable[str]) -> str:
    """Reasons, each with how many it is of, in words."""
    return ", ".join(f"{reason} ({count})" for reason, count in sorted(Counter(reasons).items()))
