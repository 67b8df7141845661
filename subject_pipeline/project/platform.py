"""The attributes of `SubjectPlatform`: what one code location works on, and what runs by itself."""

from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.project.templates import FROM_ENVIRONMENT, Secret, is_secret
from subject_pipeline.settings import DEFAULT_DAGSTER_URL, DEFAULT_STORE

PLATFORM_TYPE = "subject_pipeline.components.SubjectPlatform"
_REMOTE = "://"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("is no IANA time zone such as Europe/Berlin") from error
    return name


def _without_secrets(options: dict[str, str]) -> dict[str, str]:
    for name, value in options.items():
        if is_secret(name, value) and not FROM_ENVIRONMENT.fullmatch(value):
            raise ValueError(f'{name} is a secret, and Dagster shows resources: write "{{{{ env.VARIABLE }}}}"')
    return options


class _Attributes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Automation(_Attributes):
    """What runs by itself, when, and how much of it; a bad cron expression is refused by Dagster."""

    enabled: bool = Field(
        default=False,
        description="Whether sensors and schedules run, until somebody switches them in the UI.",
        examples=["{{ env.SUBJECT_AUTOMATION }}", True],
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="The IANA time zone in which the crons count.", examples=["Europe/Berlin"]
    )
    nightly_verification: str = Field(
        default="30 1 * * 1-6",
        description="Cron. Verifies what changed since the last checkpoint; then a checkpoint and a report.",
        examples=["30 1 * * 1-6"],
    )
    weekly_verification: str = Field(
        default="30 1 * * 0",
        description="Cron. Verifies everything, and trusts nothing that the store says of itself.",
        examples=["30 1 * * 0"],
    )
    weekly_maintenance: str = Field(
        default="0 4 * * 0", description="Cron. Compacts, vacuums and cleans up stagings.", examples=["0 4 * * 0"]
    )
    daily_freshness_check: str = Field(
        default="0 7 * * *",
        description="Cron. Evaluates whether verifications and checkpoints are recent: silence is noticed too.",
        examples=["0 7 * * *"],
    )
    daily_erasures: str = Field(
        default="0 5 * * *",
        description="Cron. Erases everybody whose erasure is ordered and whom no hold keeps.",
        examples=["0 5 * * *"],
    )
    source_sensor_seconds: int = Field(
        default=60,
        ge=1,
        description="How often a dataset's source is looked at; it is taken once unchanged over one look.",
        examples=[60],
    )
    inbox_sensor_seconds: int = Field(
        default=30, ge=1, description="How often the inboxes are looked at.", examples=[30]
    )
    inbox_files_per_run: int = Field(
        default=100, ge=1, description="At most so many files are taken in one run.", examples=[100]
    )
    attempts: int = Field(
        default=3,
        ge=1,
        description="Runs of the same work before it is left to people; the pauses between them grow fourfold.",
        examples=[3],
    )
    full_verification_within_days: float = Field(
        default=8, gt=0, description="Else the check full_verification_is_recent is red.", examples=[8]
    )
    checkpoint_within_days: float = Field(
        default=2, gt=0, description="Else the check checkpoint_is_recent is red.", examples=[2]
    )
    consent_pending_days: float = Field(
        default=30, gt=0, description="Else the check consent_is_not_pending_too_long warns.", examples=[30]
    )


class Alerts(_Attributes):
    """Where people are told of failed runs and red checks."""

    webhook: Annotated[str, Secret()] | None = Field(
        default=None,
        repr=False,
        description="Where alerts are posted as JSON; a secret, so it names a variable. Unset: they are only logged.",
        examples=["{{ env.SUBJECT_ALERT_WEBHOOK }}"],
    )
    dagster_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] = Field(
        default=DEFAULT_DAGSTER_URL,
        description="Where people reach Dagster's pages: alerts link there.",
        examples=["https://dagster.example.com", "{{ env.SUBJECT_DAGSTER_URL }}"],
    )


class PlatformSettings(_Attributes):
    """The attributes; a value may be `{{ env.X }}`, and one that is unset or empty there has its default."""

    store: str = Field(
        default=DEFAULT_STORE,
        min_length=1,
        description="Where the store is: a path, file://, s3://, gs:// or az://. A relative path counts from the "
        "project's folder. Default: ./data.",
        examples=["{{ env.SUBJECT_STORE_URL }}", "s3://bucket/subjects"],
    )
    store_options: Annotated[dict[str, str], AfterValidator(_without_secrets)] = Field(
        default_factory=dict,
        repr=False,
        description="Endpoint and credentials, where the provider's own variables do not give them. A secret names a "
        "variable.",
        examples=[{"aws_endpoint_url": "https://s3.example.com", "aws_secret_access_key": "{{ env.STORE_SECRET }}"}],
    )
    key_ring: str | None = Field(
        default=None,
        description="The key ring's file, mode 600, made by `subject-pipeline keys new`. Everything that writes, "
        "verifies or signs the audit log needs it.",
        examples=["{{ env.SUBJECT_KEY_RING }}"],
    )
    chunks: int | None = Field(
        default=None,
        ge=1,
        description="How many chunks the subjects are divided into: Dagster's partitions. Fixed by the store's first "
        "write; about 10,000 subjects a chunk is comfortable. Default: 64.",
        examples=["{{ env.SUBJECT_CHUNKS }}", 64],
    )
    partitions_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Split a dataset's backfill into runs of so many partitions, where a launcher spreads runs over "
        "machines; a dataset may say otherwise. Default: one run for any selection.",
        examples=["{{ env.SUBJECT_PARTITIONS_PER_RUN }}", 16],
    )
    policies: str | None = Field(
        default=None,
        description="YAML file of the policies (how long data is kept, verticals, four eyes), which is put in force "
        "before decisions are applied. A relative path counts from the project's folder. Default: those of "
        "`subject-pipeline policies apply`.",
        examples=["policies.yaml"],
    )
    owners: list[str] = Field(
        default_factory=list,
        description="Of the assets that belong to no dataset: e-mail addresses, or team:name.",
        examples=[["team:privacy"]],
    )
    automation: Automation = Field(default=Automation(), description="What runs by itself, and when.")
    alerts: Alerts = Field(default=Alerts(), description="Where people are told of failed runs and red checks.")

    def located(self, folder: Path) -> Self:
        """The same settings, with the paths that count from the project's folder counted from there.

        Raises:
            ConfigurationError: a path begins with the home of a user who is none.
        """
        named = {name: getattr(self, name) for name in ("store", "key_ring", "policies")}
        return self.model_copy(update={name: located(path, folder) for name, path in named.items() if path})


def located(path: str, folder: Path) -> str:
    """A path of a project's YAML: a URL as it is, any other counted from the project's folder.

    Raises:
        ConfigurationError: it begins with the home of a user who is none.
    """
    if _REMOTE in path:
        return path
    try:
        return str(folder / Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigurationError(f"cannot use the path {path!r}: {error}") from error
