"""The subject manifest, version 1: what is held about one person, on which consent, until when."""

import datetime as dt
import json
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

MANIFEST_SCHEMA = "subject_manifest.v1"
DEFAULT_RETENTION = dt.timedelta(days=365 * 4)


def format_time(value: dt.datetime) -> str:
    """RFC 3339 in UTC with exactly six decimals and `Z`."""
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


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


class _Part(BaseModel):
    # Fields that a newer writer added are kept, in order, after ours.
    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)


class GeneralPiiConsent(_Part):
    """Consent to hold general personal data; never inferred from the presence of data."""

    status: str = "pending_backfill_review"
    version: str | None = None
    given_at: Time | None = None
    withdrawn_at: Time | None = None


class BiometricConsent(_Part):
    """Consent to hold biometric data, with the date by which it must be gone (BIPA)."""

    status: str = "never_collected"
    retention_until: Time | None = None


class Consent(_Part):
    """Consent by kind of data."""

    general_pii: GeneralPiiConsent = Field(default_factory=GeneralPiiConsent)
    biometric: BiometricConsent = Field(default_factory=BiometricConsent)


class Retention(_Part):
    """Until when general personal data may be held, and under which policy."""

    general_pii_until: Time
    policy: str = "4_year_default"


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

    def as_json(self) -> dict[str, Any]:
        """The manifest as JSON values: known fields in order, null written as null, unknown fields last."""
        return self.model_dump(mode="json", by_alias=True)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":"))


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
    """Where in the store the audit log of a chunk lies."""
    return f"audit/{chunk}"
