"""The subject manifest, version 1: which datasets hold a person, on which consent, until when."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from subject_pipeline.errors import ManifestError
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.formats.times import format_time
from subject_pipeline.store.layout import AUDIT

MANIFEST_SCHEMA = "subject_manifest.v1"
DEFAULT_RETENTION = dt.timedelta(days=365 * 4)
DEFAULT_POLICY = "4_year_default"
VOCABULARY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "status": ("active", "restricted", "erasure_ordered"),
        "vertical": ("unknown", "general", "healthcare"),
        "consent.general_pii.status": ("pending_backfill_review", "given", "refused", "withdrawn"),
        "consent.biometric.status": ("never_collected", "given", "refused", "withdrawn", "destroyed"),
        "retention.policy": (DEFAULT_POLICY,),
    }
)
"""The words that each of these fields may hold. Writing others is refused; reading takes a newer writer's words."""


def _to_utc(value: dt.datetime) -> dt.datetime:
    try:
        return value.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("no calendar holds this time in UTC") from error


Time = Annotated[
    AwareDatetime,
    AfterValidator(_to_utc),
    PlainSerializer(format_time, return_type=str, when_used="json"),
]


def _appears(default: Any) -> Any:  # noqa: ANN401 - as pydantic's own
    """A field that decisions add: in the JSON where it has a value, and not there at all where it has none."""
    return Field(default=default, exclude_if=lambda value: not value)


class _Part(BaseModel):
    # Fields that a newer writer added are kept, in order, after ours.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class GeneralPiiConsent(_Part):
    """Consent to hold general personal data; never inferred from the presence of data."""

    status: str = "pending_backfill_review"
    version: str | None = ""
    given_at: Time | None = None
    withdrawn_at: Time | None = None


class BiometricConsent(_Part):
    """Consent to hold biometric data, with the date by which it must be gone (BIPA)."""

    status: str = "never_collected"
    retention_until: Time | None = None
    version: str | None = _appears(None)
    given_at: Time | None = _appears(None)
    withdrawn_at: Time | None = _appears(None)
    until: Time | None = _appears(None)
    policy: str | None = _appears(None)


class Consent(_Part):
    """Consent by kind of data."""

    general_pii: GeneralPiiConsent = Field(default_factory=GeneralPiiConsent)
    biometric: BiometricConsent = Field(default_factory=BiometricConsent)


class Retention(_Part):
    """Until when general personal data may be held, and under which policy."""

    general_pii_until: Time
    policy: str = DEFAULT_POLICY
    last_interaction_at: Time | None = _appears(None)


class Hold(_Part):
    """A legal hold: nothing of the person is erased or destroyed until it is released."""

    hold_id: str = Field(min_length=1)
    placed_at: Time
    reason: str | None = _appears(None)


class DatasetReference(_Part):
    """Where the person's rows are: the dataset, its key column and the value in it."""

    name: str
    key_column: str
    key_value: str


class SubjectManifest(_Part):
    """One subject's manifest. Field order is the order of its JSON.

    `vertical` starts as `unknown`, so that routing fails closed until somebody has classified the subject.
    """

    schema_: str = Field(default=MANIFEST_SCHEMA, alias="schema", pattern=r"^subject_manifest\.v[0-9]+$")
    candidate_id: str = Field(min_length=1)
    created_at: Time
    updated_at: Time
    status: str = "active"
    vertical: str = "unknown"
    consent: Consent = Field(default_factory=Consent)
    retention: Retention
    datasets: tuple[DatasetReference, ...] = ()
    safe_views: tuple[str, ...] = ()
    audit_log_path: str = ""
    audit_log_chain_root: str = ""
    restricted_at: Time | None = _appears(None)
    erasure_ordered_at: Time | None = _appears(None)
    holds: tuple[Hold, ...] = _appears(())

    @classmethod
    def parse(cls, value: bytes | str | dict[str, Any]) -> Self:
        """A manifest from its JSON.

        Raises:
            ManifestError: not JSON, or not a manifest; the message names the field.
        """
        try:
            if isinstance(value, dict):
                return cls.model_validate(value)
            return cls.model_validate_json(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "document"
            raise ManifestError(f"not a subject manifest: {where}: {first['msg']}") from error

    def word(self, field: str) -> str:
        """The word that a field of `VOCABULARY` holds."""
        return str(reduce(getattr, field.split("."), self))

    def unknown_word(self, vocabulary: "Vocabulary" = VOCABULARY) -> str | None:
        """Why the manifest may not be written, with the words that there are; None where all its words are known."""
        for field, words in vocabulary.items():
            if (word := self.word(field)) not in words:
                return f"{field} is {shown(word)!r}, which is none of its words: {', '.join(words)}"
        return None

    def translated(self, words: "Translations") -> Self:
        """The manifest with its words translated."""
        wanted = {field: there[word] for field, there in words.items() if (word := self.word(field)) in there}
        if not wanted:
            return self
        document = self.as_json()
        for field, word in wanted.items():
            *parents, name = field.split(".")
            reduce(dict[str, Any].__getitem__, parents, document)[name] = word
        return self.parse(document)

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON values: known fields in order, null written as null, unknown fields last."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))


Translations = Mapping[str, Mapping[str, str]]
"""Words of another system and ours instead, by field of `VOCABULARY`."""


Vocabulary = Mapping[str, tuple[str, ...]]
"""The words that each closed field may hold: `VOCABULARY`, and those that policies declare."""


def translations(pairs: Iterable[str], vocabulary: Vocabulary = VOCABULARY) -> Translations:
    """What `WORD=WORD` means: the left word is the right one, in each field that has the right one.

    Raises:
        ManifestError: the right word is in no vocabulary, or one word is to become two in one field.
    """
    found: dict[str, dict[str, str]] = {}
    for pair in pairs:
        theirs, equals, ours = pair.rpartition("=")
        fields = [field for field, words in vocabulary.items() if ours in words]
        if not equals or not fields:
            there = "; ".join(f"{field}: {', '.join(words)}" for field, words in vocabulary.items())
            raise ManifestError(f"cannot translate {pair!r}: THEIRS=OURS is wanted, OURS one of the words of {there}")
        for field in fields:
            if found.setdefault(field, {}).setdefault(theirs, ours) != ours:
                both = f"{found[field][theirs]!r} and {ours!r}"
                raise ManifestError(f"cannot translate {theirs!r} of {field} into both {both}: give one of them")
    return found


def new_manifest(
    *, candidate_id: str, dataset: DatasetReference, safe_views: tuple[str, ...], chunk: str, now: dt.datetime
) -> SubjectManifest:
    """The manifest of a subject seen for the first time: defensible defaults, nothing inferred."""
    return SubjectManifest(
        candidate_id=candidate_id,
        created_at=now,
        updated_at=now,
        retention=Retention(general_pii_until=now + DEFAULT_RETENTION),
        datasets=(dataset,),
        safe_views=safe_views,
        audit_log_path=audit_log_path(chunk),
    )


def audit_log_path(chunk: str) -> str:
    """Where in the store the audit log of a chunk is."""
    return f"{AUDIT}{chunk}"
