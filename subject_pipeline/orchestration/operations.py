"""The settings of what runs by itself: one YAML file, `defs/operations.yaml`."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import yaml
from dagster._core.definitions.utils import is_valid_owner
from dagster._utils.schedules import is_valid_cron_schedule
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from subject_pipeline.errors import ConfigurationError

FILE = Path(__file__).parents[1] / "defs" / "operations.yaml"


def _cron(text: str) -> str:
    if not is_valid_cron_schedule(text):
        raise ValueError("is no cron expression such as '30 1 * * *'")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("is no IANA time zone such as Europe/Berlin") from error
    return name


def _owner(text: str) -> str:
    if not is_valid_owner(text):
        raise ValueError("is neither an e-mail address nor team:name")
    return text


Cron = Annotated[str, AfterValidator(_cron)]


class Operations(BaseModel):
    """What `defs/operations.yaml` says; the file explains each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    nightly_verification: Cron
    weekly_verification: Cron
    weekly_maintenance: Cron
    daily_freshness_check: Cron = "0 7 * * *"
    source_sensor_seconds: int = Field(ge=1)
    inbox_sensor_seconds: int = Field(ge=1)
    inbox_files_per_run: int = Field(ge=1)
    attempts: int = Field(ge=1)
    full_verification_within_days: float = Field(gt=0)
    checkpoint_within_days: float = Field(gt=0)
    consent_pending_days: float = Field(gt=0)
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = ()

    @classmethod
    def read(cls, file: Path = FILE) -> "Operations":
        """Read the settings.

        Raises:
            ConfigurationError: a value that cannot be used, with its name.
        """
        try:
            return cls.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except (ValidationError, yaml.YAMLError) as error:
            raise ConfigurationError(f"cannot use {file.name}: {error}") from error
