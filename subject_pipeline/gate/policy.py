"""The gate's policy: for each purpose, who may be shown, and what becomes of an answer about anybody else."""

import re
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from subject_pipeline.gate.answers.ids import without_style

MAX_AGE_AT_MOST = 60
"""Seconds."""

_SECONDS = re.compile(r"(0|[1-9][0-9]{0,3})s")
_TIMEOUT_AT_MOST = 600
_NAME = r"^[A-Za-z0-9_-]{1,100}$"
Name = Annotated[str, Field(pattern=_NAME)]


def _seconds(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    match = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be whole seconds, such as 5s")
    return int(match[1])


Seconds = Annotated[
    int, BeforeValidator(_seconds), WithJsonSchema({"type": "string", "pattern": f"^{_SECONDS.pattern}$"})
]


def _sequence(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    return tuple(value) if isinstance(value, list) else value


def _holds_active(statuses: tuple[str, ...]) -> tuple[str, ...]:
    if "active" not in statuses:
        raise ValueError("must hold active: those who are neither restricted nor ordered to be erased")
    return statuses


def _classified(vertical: str) -> str:
    if vertical == "unknown":
        raise ValueError("unknown is what nobody has classified yet, and is never allowed")
    return vertical


def _each_once(ids: dict[str, str]) -> dict[str, str]:
    if len({without_style(name) for name in ids}) < len(ids):
        raise ValueError("two of these are one field in another case style")
    return ids


GeneralPii = Literal["pending_backfill_review", "given", "refused", "withdrawn"]
Biometric = Literal["never_collected", "given", "refused", "withdrawn", "destroyed"]
Status = Literal["active", "restricted", "erasure_ordered"]
Item = TypeVar("Item")
Several = Annotated[tuple[Item, ...], Field(min_length=1), BeforeValidator(_sequence)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RequiredConsent(_Strict):
    """The statuses that a consent may have, by its scope; a scope that is not named is not asked for."""

    general_pii: Several[GeneralPii] | None = None
    biometric: Several[Biometric] | None = None


class Purpose(_Strict):
    """Who may be shown for one purpose.

    Attributes:
        consent: what consent it takes. Unless given: general_pii given.
        verticals: the verticals it is for; `unknown` is never allowed.
        statuses: unless given, those who are active alone.
        others: what becomes of an answer that names somebody who may not be shown: all of it is withheld, or their
            records are dropped.
    """

    consent: RequiredConsent = RequiredConsent(general_pii=("given",))
    verticals: Several[Annotated[Name, AfterValidator(_classified)]]
    statuses: Annotated[Several[Status], AfterValidator(_holds_active)] = ("active",)
    others: Literal["withhold", "drop"] = "withhold"

    @cached_property
    def required(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The scopes that are asked for, each with the statuses that its consent may have."""
        return tuple((scope, allowed) for scope, allowed in self.consent if allowed is not None)


class GatePolicy(_Strict):
    """A policy file of the gate.

    Attributes:
        purposes: by name; any other purpose is not allowed.
        ids: the fields of an answer that hold a subject's id, in whatever case style, and the prefix of each one's ids.
        max_age: seconds that a manifest in memory may be old, at most 60.
        timeout: seconds after which an access that is not on record is withheld.
        deny_opaque: withhold answers that hold what cannot be examined.
    """

    purposes: Annotated[dict[Annotated[str, Field(min_length=1, max_length=1_024)], Purpose], Field(min_length=1)]
    ids: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(max_length=100)]],
        Field(min_length=1),
        AfterValidator(_each_once),
    ] = {"candidate_id": "", "subject_id": ""}
    max_age: Annotated[Seconds, Field(le=MAX_AGE_AT_MOST)] = 5
    timeout: Annotated[Seconds, Field(ge=1, le=_TIMEOUT_AT_MOST)] = 10
    deny_opaque: bool = True
