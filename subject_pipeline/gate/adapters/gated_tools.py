"""Tool calls in front of the gate, whatever library they come from.

1. A tool that is not configured is refused; so is a call whose arguments do not say whom it is about.
2. Purpose and actor are the configuration's, or what it reads from what the library has authenticated. The arguments
   are a model's, and say nothing but whom the call is about.
3. The gate decides. If anybody whom the call is about may not be shown, the tool is not called.
4. What the tool answers, or that it failed, goes through the gate; only what comes out of it is released.

The model learns the reason codes of a denial, and nothing else; the program's log has the rest.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from subject_pipeline.audit.result_state import ResultState, audit_result_state
from subject_pipeline.errors import DeniedError, SubjectPipelineError, WithheldError
from subject_pipeline.gate.answers.finding import find_subjects
from subject_pipeline.gate.call import Permit, Told, event_id_of
from subject_pipeline.gate.gate import SubjectGate
from subject_pipeline.gate.hook import told_reason

Subjects = str | Collection[str] | Callable[[Mapping[str, Any]], str | Iterable[str]]
"""Whom a call is about: those in the argument of this name, or in arguments of several names, or what a function says
of the arguments. With names, a call is about somebody; it is about those, too, whom the policy's `ids` find there."""

Given = str | Callable[[Any], str]
"""A text, or a function of what the library has authenticated or the program has given, never of the arguments."""

Answer = TypeVar("Answer")

_LOG = logging.getLogger(__name__)


class RefusedError(SubjectPipelineError):
    """Nothing is released of a call; the message is what a model may learn of that."""


class Unread:
    """A part of an answer that nobody looks into, such as an image: it is opaque to the gate."""

    def __init__(self, part: Any) -> None:  # noqa: ANN401 - of any library
        self.part: Final = part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unread) and self.part is other.part

    def __hash__(self) -> int:
        return id(self.part)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call as a library hands it on.

    Attributes:
        tool: its name, which is the action in the rows.
        arguments: the model's.
        given: what `Given` functions are called with.
        trace_id: of the request or the conversation.
        request_id: of the call within the trace; the same when it is made again.
    """

    tool: str
    arguments: Mapping[str, Any]
    given: Any = None
    trace_id: str | None = None
    request_id: str | None = None


class GatedTools:
    """Which tools are called through a gate, and how. Safe to share between threads, tasks and adapters.

    Args:
        gate: decides and records.
        tools: whom a call is about, by the tool's name; a call of any other tool is refused.
        purpose: what calls are for; where a function fails, no purpose is allowed.
        actor: on whose behalf, if not the gate's own actor; where a function fails, the call is refused.
        ungated: tools that know nobody: they are called past the gate, and nothing is recorded of them.
    """

    def __init__(
        self,
        gate: SubjectGate,
        *,
        tools: Mapping[str, Subjects],
        purpose: Given,
        actor: Given | None = None,
        ungated: Collection[str] = (),
    ) -> None:
        self._gate = gate
        self._tools = dict(tools)
        self._purpose = purpose
        self._actor = actor
        self.names: Final = tuple(self._tools)
        self.ungated: Final = frozenset((ungated,) if isinstance(ungated, str) else ungated)

    def permit(self, call: ToolCall) -> Permit:
        """Let a call be made, or raise RefusedError."""
        with _refusing(call.tool):
            return _whole(self._gate.before(call.tool, **self._told(call)))

    async def permit_async(self, call: ToolCall) -> Permit:
        """As `permit`, without blocking the event loop."""
        with _refusing(call.tool):
            return _whole(await self._gate.before_async(call.tool, **self._told(call)))

    def release(self, permit: Permit, answer: Answer) -> Answer:
        """What may be shown of an answer, or raise RefusedError; that it says it failed is on record in either case."""
        result = result_of(answer)
        permit = _of_outcome(permit, result)
        with _refusing(permit.action):
            try:
                return self._gate.after(permit.action, answer, permit=permit)
            except WithheldError:
                if result != "success":
                    self._gate.after(permit.action, {"status": result}, permit=permit)
                raise

    async def release_async(self, permit: Permit, answer: Answer) -> Answer:
        """As `release`, without blocking the event loop."""
        result = result_of(answer)
        permit = _of_outcome(permit, result)
        with _refusing(permit.action):
            try:
                return await self._gate.after_async(permit.action, answer, permit=permit)
            except WithheldError:
                if result != "success":
                    await self._gate.after_async(permit.action, {"status": result}, permit=permit)
                raise

    def run(self, permit: Permit, tool: Callable[[], Answer], *through: type[Exception]) -> Answer:
        """Call a tool; what it raises is recorded, and in its place RefusedError raised, but for what goes through."""
        try:
            return tool()
        except through:
            raise
        except Exception as error:
            self.release(permit, {"error": type(error).__name__})
            raise _raised(permit, error) from error

    async def run_async(
        self, permit: Permit, tool: Callable[[], Awaitable[Answer]], *through: type[Exception]
    ) -> Answer:
        """As `run`, of a coroutine function."""
        try:
            return await tool()
        except through:
            raise
        except Exception as error:
            await self.release_async(permit, {"error": type(error).__name__})
            raise _raised(permit, error) from error

    def _told(self, call: ToolCall) -> Told:
        subjects = self._subjects(call)
        purpose, actor = _said(self._purpose, call.given), _said(self._actor, call.given)
        if actor is None and self._actor is not None:
            raise RefusedError(f"{call.tool} is denied: nothing says on whose behalf it is called")
        # A request's id may be another's in a trace with several clients: only what is the same call is one.
        request = call.request_id and repr((call.request_id, call.tool, actor, purpose))
        told: Told = {"subjects": subjects, "purpose": purpose, "actor": actor, "trace_id": call.trace_id}
        return {**told, "event_id": event_id_of(call.trace_id, request)}

    def _subjects(self, call: ToolCall) -> str | Iterable[str]:
        named = self._tools.get(call.tool)
        if named is None:
            raise RefusedError(f"{call.tool} is denied: the gate does not know it")
        if callable(named):
            return named(call.arguments)
        names = (named,) if isinstance(named, str) else tuple(named)
        found = find_subjects(call.arguments, {**dict.fromkeys(names, ""), **self._gate.ids})
        if found.opaque or (names and not found.subjects):
            raise RefusedError(f"{call.tool} is denied: its arguments do not say whom it is about")
        return found.subjects


def result_of(answer: object) -> ResultState:
    """The result that an answer reports, which may be JSON in a text."""
    if isinstance(answer, str):
        with suppress(ValueError, RecursionError):
            return audit_result_state(json.loads(answer))
    return audit_result_state(answer)


def _said(given: Given | None, source: object) -> str | None:
    if not callable(given):
        return given
    try:
        said = given(source)
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is given
        _LOG.warning("a call does not say what it is for, or on whose behalf: %s", type(error).__name__)
        return None
    return said if isinstance(said, str) and said else None


def _whole(permit: Permit) -> Permit:
    """A permit for everybody whom a call is about: a tool reads whomever its arguments name, the denied too."""
    if permit.denied:
        raise DeniedError("some of its subjects are denied", permit.denied)
    return permit


def _of_outcome(permit: Permit, result: ResultState) -> Permit:
    """The permit with an event id of this outcome: what failed, or was denied, may be shown when it is called again."""
    event_id = permit.told.get("event_id")
    return replace(permit, told={**permit.told, "event_id": event_id and f"{event_id}-{result}"})


def _raised(permit: Permit, error: Exception) -> RefusedError:
    return RefusedError(f"{permit.action} raised {type(error).__name__}; nothing of it is released")


@contextmanager
def _refusing(tool: str) -> Iterator[None]:
    """Whatever goes wrong refuses, in words that a model may read."""
    try:
        yield
    except RefusedError:
        raise
    except DeniedError as error:
        reasons = ", ".join(sorted(set(error.reasons.values()))) or "purpose_not_allowed"
        _LOG.info("%s", error)
        raise RefusedError(f"{tool} is denied: {reasons}") from error
    except Exception as error:
        _LOG.warning("%s", told_reason(error))
        raise RefusedError(f"nothing of {tool} is released") from error
