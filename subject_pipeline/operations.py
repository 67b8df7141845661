"""The settings of what runs by itself: one YAML file, `defs/operations.yaml`."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from subject_pipeline.errors import ConfigurationError

FILE = Path(__file__).parent / "defs" / "operations.yaml"


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("is no IANA time zone such as Europe/Berlin") from error
    return name


class Operations(BaseModel):
    """What `defs/operations.yaml` says; the file explains each.

    A bad cron expression or owner is refused by Dagster, when definitions are loaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    nightly_verification: str
    weekly_verification: str
    weekly_maintenance: str
    daily_freshness_check: str = "0 7 * * *"
    daily_erasures: str = "0 5 * * *"
    source_sensor_seconds: int = Field(ge=1)
    inbox_sensor_seconds: int = Field(ge=1)
    inbox_files_per_run: int = Field(ge=1)
    attempts: int = Field(ge=1)
    full_verification_within_days: float = Field(gt=0)
    checkpoint_within_days: float = Field(gt=0)
    consent_pending_days: float = Field(gt=0)
    owners: tuple[str, ...] = ()

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
