"""Where a store is: one URL for table, log, catalog, staging and reports, and the options that reach it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.formats.shown_text import without_credentials

SCHEMES = ("file", "s3", "gs", "az")


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """A store's address.

    Attributes:
        url: `file:///folder`, `s3://bucket/prefix`, `gs://...` or `az://...`, without a slash at the end. It holds no
            credentials, so it may be printed.
        options: credentials and endpoint where the environment does not give them; the same mapping reaches
            obstore, delta-rs and Polars. Never printed.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, options: Mapping[str, str] | None = None) -> "StoreLocation":
        """The location that a URL or a local path names; a relative one counts from the working folder.

        Raises:
            ConfigurationError: an empty text, an unknown scheme, a URL without a bucket or with credentials in it.
        """
        if not text.strip():
            raise ConfigurationError("the store URL is empty: give --store URL or set SUBJECT_STORE_URL")
        refuse_credentials(text, "the store URL")
        if "://" not in text:
            return cls._local(home_expanded(text), text, options)
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            raise ConfigurationError(
                f"cannot use the store URL {text!r}: its scheme must be one of "
                + ", ".join(f"{scheme}://" for scheme in SCHEMES)
            )
        if parts.scheme == "file":
            return cls._local(Path(unquote(parts.netloc + parts.path)), text, options)
        if not parts.netloc:
            raise ConfigurationError(f"cannot use the store URL {text!r}: it names no bucket")
        cls._check(text, parts.path)
        return cls(text.rstrip("/"), options or {})

    @classmethod
    def _local(cls, path: Path, text: str, options: Mapping[str, str] | None) -> "StoreLocation":
        cls._check(text, str(path.absolute()))
        return cls(path.absolute().as_uri(), options or {})

    @staticmethod
    def _check(text: str, path: str) -> None:
        # delta-rs decodes such a name once too often, and then looks for another folder.
        if "%" in path:
            raise ConfigurationError(f"cannot use the store URL {text!r}: no folder in it may have '%' in its name")

    @property
    def local_path(self) -> Path | None:
        """The folder of a local store; None for a remote one."""
        parts = urlsplit(self.url)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    def child(self, key: str) -> str:
        """The URL of a place in the store."""
        return f"{self.url}/{key}"


def home_expanded(text: str) -> Path:
    """A local path, with `~` and `~user` expanded.

    Raises:
        ConfigurationError: there is no such user, or no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"cannot use the path {text!r}: {error}") from error


def refuse_credentials(url: str, what: str) -> None:
    """Refuse a URL that holds a user, a password or a query: it is stored, and printed wherever the place is named.

    Raises:
        ConfigurationError: it does; the message does not repeat them.
    """
    shown = without_credentials(url)
    if shown != url:
        raise ConfigurationError(
            f"cannot use {what} {shown!r}: a user, a password or a query in it would be stored and printed with it; "
            "leave it out, and give credentials through the environment (docs/stores.md says what each provider reads)"
        )
