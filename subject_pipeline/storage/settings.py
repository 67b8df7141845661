"""Settings from the environment, read once by a shell and handed on."""

from collections.abc import Mapping
from dataclasses import dataclass

from subject_pipeline.domain.chunks import ChunkLayout
from subject_pipeline.errors import ConfigurationError

STORE_URL = "SUBJECT_STORE_URL"
CHUNKS = "SUBJECT_CHUNKS"
DEFAULT_STORE = "./data"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        store_url: `$SUBJECT_STORE_URL`, else `./data`.
        chunks: `$SUBJECT_CHUNKS`; None where it is unset: what the store's layout says.
    """

    store_url: str
    chunks: int | None

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; an empty variable counts as unset.

        Raises:
            ConfigurationError: a value that cannot be used, with the variable named.
        """
        text = environment.get(CHUNKS, "").strip()
        chunks: int | None = None
        if text:
            if not text.isascii() or not text.isdigit():
                raise ConfigurationError(f"{CHUNKS} must be a whole number, not {text!r}")
            chunks = ChunkLayout(int(text)).count
        return cls(environment.get(STORE_URL) or DEFAULT_STORE, chunks)
