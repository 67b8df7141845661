"""Settings from the environment, read once by a shell and passed on."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from subject_pipeline.errors import ConfigurationError

STORE_URL = "SUBJECT_STORE_URL"
CHUNKS = "SUBJECT_CHUNKS"
PARTITIONS_PER_RUN = "SUBJECT_PARTITIONS_PER_RUN"
KEY_RING = "SUBJECT_KEY_RING"
ACTOR = "SUBJECT_ACTOR"
LOG_FORMAT = "SUBJECT_LOG_FORMAT"
TRACEBACK = "SUBJECT_TRACEBACK"
AUTOMATION = "SUBJECT_AUTOMATION"
ALERT_WEBHOOK = "SUBJECT_ALERT_WEBHOOK"
DAGSTER_URL = "SUBJECT_DAGSTER_URL"
_DIGITS = 12
DEFAULT_STORE = "./data"
DEFAULT_DAGSTER_URL = "http://127.0.0.1:3000"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        store_url: `$SUBJECT_STORE_URL`, else `./data`.
        chunks: `$SUBJECT_CHUNKS`; None where it is unset: what the store's layout says.
        partitions_per_run: `$SUBJECT_PARTITIONS_PER_RUN`; None: one run for any selection.
        key_ring: `$SUBJECT_KEY_RING`, the file of the key ring; None where it is unset.
        actor: `$SUBJECT_ACTOR`, who is named in audit rows; None where it is unset.
        automation: `$SUBJECT_AUTOMATION` is `on`: sensors and schedules run; unset or `off`: nothing runs by itself.
        alert_webhook: `$SUBJECT_ALERT_WEBHOOK`, where alerts are posted; a secret; None: they are only logged.
        dagster_url: `$SUBJECT_DAGSTER_URL`, where people reach Dagster's pages, without a slash at its end.
    """

    store_url: str
    chunks: int | None
    partitions_per_run: int | None = None
    key_ring: str | None = None
    actor: str | None = None
    automation: bool = False
    alert_webhook: str | None = field(default=None, repr=False)
    dagster_url: str = DEFAULT_DAGSTER_URL

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; an empty variable counts as unset.

        Raises:
            ConfigurationError: a value that cannot be used, with the variable named.
        """
        return cls(
            environment.get(STORE_URL) or DEFAULT_STORE,
            _whole_number(environment, CHUNKS),
            _whole_number(environment, PARTITIONS_PER_RUN),
            environment.get(KEY_RING, "").strip() or None,
            environment.get(ACTOR, "").strip() or None,
            _switch(environment, AUTOMATION),
            environment.get(ALERT_WEBHOOK, "").strip() or None,
            environment.get(DAGSTER_URL, "").strip().rstrip("/") or DEFAULT_DAGSTER_URL,
        )


def json_logs(environment: Mapping[str, str]) -> bool:
    """Whether messages are one JSON object a line: `$SUBJECT_LOG_FORMAT` is `json`.

    Any other value means text: a wrong setting of the format must not keep an error from being shown.
    """
    return environment.get(LOG_FORMAT, "").strip().lower() == "json"


def traceback_wanted(environment: Mapping[str, str]) -> bool:
    """Whether errors of the command line come with their traceback: `$SUBJECT_TRACEBACK` is `1`, `on` or the like."""
    return environment.get(TRACEBACK, "").strip().lower() not in {"", "0", "off", "no", "false"}


def system_user() -> str:
    """The name of the user who runs this process; `uid:N` if the system has no name for it, as in many containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"uid:{os.getuid()}"


def _whole_number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) < 1:
        raise ConfigurationError(f"{name} must be a whole number from 1, not {text[:40]!r}")
    return int(text)


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "").strip()
    if text.lower() not in {"", "on", "off"}:
        # Read as "off", a misspelt "on" would turn the nightly verification off, and nobody would know.
        raise ConfigurationError(f"{name} must be on or off, not {text[:40]!r}")
    return text.lower() == "on"
