"""Policies: how long data is kept and counted from when, which verticals there are, and what takes four eyes."""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.errors import PolicyError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.manifests.manifest import DEFAULT_POLICY, VOCABULARY

Basis = Literal["registered", "last_interaction", "consent_given", "consent_withdrawn"]

_KEEP = re.compile(r"(0|[1-9][0-9]{0,5})([dy])")
_LEAP_DAY = (2, 29)
_NAME = r"^[A-Za-z0-9_-]{1,100}$"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rule(_Strict):
    """So long after something: `keep` is a number of days (`1460d`) or of calendar years in UTC (`3y`)."""

    keep: str
    basis: Basis = Field(alias="from")

    @field_validator("keep")
    @classmethod
    def _is_a_length(cls, value: str) -> str:
        if not _KEEP.fullmatch(value):
            raise ValueError("must be days or years, such as 1460d or 3y")
        return value

    def ends(self, start: dt.datetime) -> dt.datetime:
        """When the time that began at `start` is over; 29 February becomes 28 where the year has none."""
        number, unit = int(self.keep[:-1]), self.keep[-1]
        try:
            if unit == "d":
                return start + dt.timedelta(days=number)
            leap = (start.month, start.day) == _LEAP_DAY
            try:
                return start.replace(year=start.year + number)
            except ValueError:
                return start.replace(year=start.year + number, day=28) if leap else _never()
        except (OverflowError, ValueError):
            return _never()


def _never() -> dt.datetime:
    return dt.datetime.max.replace(tzinfo=dt.UTC)


class Policy(_Strict):
    """One retention policy: one rule, or the first that ends of several."""

    scope: Literal["general_pii", "biometric"] = "general_pii"
    first_of: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_rule(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
        """`{keep, from}` is a policy of one rule."""
        if not isinstance(value, Mapping):
            return value
        rest = {name: item for name, item in value.items() if name not in {"keep", "from"}}
        alone = {name: value[name] for name in ("keep", "from") if name in value}
        if "first_of" in rest:
            if alone:
                raise ValueError("give either keep and from, or first_of")
            rules = rest["first_of"]
            return {**rest, "first_of": tuple(rules) if isinstance(rules, list) else rules}
        return {**rest, "first_of": (alone,)}


class Policies(_Strict):
    """The policies of one store; without a policies file, `Policies()`."""

    policies: dict[str, Policy] = Field(default_factory=dict)
    verticals: tuple[str, ...] = ("general", "healthcare")
    four_eyes: frozenset[Kind] = frozenset()

    @field_validator("verticals", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
        return tuple(value) if isinstance(value, list) else value

    @field_validator("four_eyes", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
        if not isinstance(value, list):
            return value
        wrong = [item for item in value if item not in set(Kind)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is none of the kinds {', '.join(Kind)}")
        return frozenset(map(Kind, value))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name in (*self.policies, *self.verticals):
            if not re.fullmatch(_NAME, name):
                raise ValueError(f"{name!r} must be up to 100 ASCII letters, digits, _ and -")
        given = self.policies.get(DEFAULT_POLICY)
        if given is not None and given.scope != "general_pii":
            raise ValueError(f"{DEFAULT_POLICY} is what everybody is registered with: its scope is general_pii")
        return self

    @classmethod
    def parse(cls, value: object) -> "Policies":
        """The policies that a YAML file holds.

        Raises:
            PolicyError: what is wrong, and where.
        """
        try:
            return cls.model_validate({} if value is None else value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise PolicyError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error

    @cached_property
    def retention(self) -> Mapping[str, Policy]:
        """Every retention policy by name; `4_year_default`, with which everybody is registered, is always there."""
        usual = Policy.model_validate({"keep": "1460d", "from": "registered"})
        return MappingProxyType({DEFAULT_POLICY: usual, **self.policies})

    @cached_property
    def vocabulary(self) -> Mapping[str, tuple[str, ...]]:
        """The words that each closed field of a manifest may hold under these policies."""
        general = (name for name, policy in self.retention.items() if policy.scope == "general_pii")
        verticals = ("unknown", *(name for name in self.verticals if name != "unknown"))
        return MappingProxyType({**VOCABULARY, "vertical": verticals, "retention.policy": tuple(general)})

    def as_declared(self) -> dict[str, Any]:
        """What a policies file says of these, `4_year_default` included; applying it has the same effect."""
        document = self.model_dump(mode="json", by_alias=True)
        policies = {
            name: _short(policy.model_dump(mode="json", by_alias=True)) for name, policy in self.retention.items()
        }
        return {"policies": policies, "verticals": document["verticals"], "four_eyes": sorted(document["four_eyes"])}

    @cached_property
    def canonical(self) -> bytes:
        """The one text of these policies, RFC 8785."""
        document = self.model_dump(mode="json", by_alias=True)
        return canonical_json({**document, "four_eyes": sorted(document["four_eyes"])})

    @cached_property
    def sha256(self) -> str:
        """Of the canonical text, 64 hex digits: what every decision's row records as `policies_sha256`."""
        return hashlib.sha256(self.canonical).hexdigest()


def _short(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy as people write it: one rule stands by itself, and so does the usual scope."""
    rules, scope = policy["first_of"], policy["scope"]
    said = rules[0] if len(rules) == 1 else {"first_of": rules}
    return said if scope == "general_pii" else {"scope": scope, **said}
