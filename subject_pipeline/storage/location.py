"""Where a store lies: one URL for table, log, catalog, staging and reports, and the options that reach it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from subject_pipeline.errors import ConfigurationError

SCHEMES = ("file", "s3", "gs", "az")


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """A store's address.

    Attributes:
        url: `file:///folder`, `s3://bucket/prefix`, `gs://...` or `az://...`, without a slash at the end.
        options: credentials and endpoint where the environment does not give them; the same mapping reaches
            obstore, delta-rs and Polars. Never printed.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, options: Mapping[str, str] | None = None) -> "StoreLocation":
        """The location that a URL or a local path names; a relative one counts from the working folder.

        Raises:
            ConfigurationError: an empty text, an unknown scheme or a URL without a bucket.
        """
        if not text.strip():
            raise ConfigurationError("the store URL is empty: give --store URL or set SUBJECT_STORE_URL")
        if "://" not in text:
            return cls(Path(text).expanduser().absolute().as_uri(), options or {})
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            raise ConfigurationError(
                f"cannot use the store URL {text!r}: its scheme must be one of "
                + ", ".join(f"{scheme}://" for scheme in SCHEMES)
            )
        if parts.scheme == "file":
            path = Path(unquote(parts.netloc + parts.path)).absolute()
            return cls(path.as_uri(), options or {})
        if not parts.netloc:
            raise ConfigurationError(f"cannot use the store URL {text!r}: it names no bucket")
        return cls(text.rstrip("/"), options or {})

    @property
    def local_path(self) -> Path | None:
        """The folder of a local store; None for a remote one."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def child(self, key: str) -> str:
        """The address of a place in the store, as delta-rs and Polars take it: a path if local, else a URL."""
        local = self.local_path
        return str(local / key) if local is not None else f"{self.url}/{key}"
