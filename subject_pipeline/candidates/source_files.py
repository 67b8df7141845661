"""Which parquet files a source is: one file, a folder, a glob, or the same in a bucket."""

import glob
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError

from subject_pipeline.errors import ConfigurationError, MissingSourceError, SourceError
from subject_pipeline.formats.shown_text import without_credentials
from subject_pipeline.objects.backends import open_backend, reason
from subject_pipeline.objects.location import StoreLocation, home_expanded, refuse_credentials

_SUFFIXES = (".parquet", ".pq")
_MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One parquet file of a source.

    Attributes:
        uri: a local path or a URL, as Polars takes it.
        size: bytes.
        stamp: changes whenever the bytes may have: the e_tag, or the modification time in nanoseconds.
    """

    uri: str
    size: int
    stamp: str


@dataclass(frozen=True, slots=True)
class SourceFiles:
    """A source's files, sorted by name, and the options that reach them."""

    uri: str
    files: tuple[SourceFile, ...]
    options: Mapping[str, str]

    @property
    def version(self) -> str:
        """16 hex digits that change with any file's name, size or stamp."""
        text = "\n".join(f"{file.uri}\0{file.size}\0{file.stamp}" for file in self.files)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def find_source_files(uri: str, options: Mapping[str, str] | None = None) -> SourceFiles:
    """The files of a source.

    A folder stands for every `*.parquet` and `*.pq` below it, without those whose name or folder starts with `_`
    or `.` (markers and unfinished writes of other engines); links to other folders are not followed.

    Args:
        uri: a path, a folder, a glob, or a URL of a store that holds one of these.
        options: what reaches a store, where the environment does not say it.

    Raises:
        SourceError: nothing is there, or no parquet file.
    """
    options = options or {}
    try:
        refuse_credentials(uri, "the URL")
        if uri.startswith("file://"):
            files = _local_files(unquote(uri.removeprefix("file://")))
        elif "://" in uri:
            files = _remote_files(uri, options)
        else:
            files = _local_files(str(home_expanded(uri)))
    except ConfigurationError as error:
        raise MissingSourceError(f"cannot find the source {without_credentials(uri)}: {error}") from error
    for file in files:
        if file.size == 0:
            # In a folder, a file's name is none of the declaration's, and may name a person.
            kind = MissingSourceError if file.uri == uri else SourceError
            raise kind(f"cannot read the source file {file.uri}: it is empty (0 bytes), not parquet")
    return SourceFiles(uri, tuple(files), options)


def _local_files(path: str) -> list[SourceFile]:
    place = Path(path)
    if place.is_dir():
        names = sorted(
            str(Path(parent, name))
            for parent, _, entries in os.walk(place, onerror=_unreadable)
            for name in entries
            if _is_data(Path(parent, name).relative_to(place).as_posix())
        )
        if not names:
            raise MissingSourceError(f"no parquet file is in the source folder {path}")
    elif place.exists():
        names = [path]
    elif _MAGIC & set(path):
        found = glob.glob(path, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        names = sorted(name for name in found if Path(name).is_file())
        if not names:
            raise MissingSourceError(f"no file matches the source pattern {path}")
    else:
        raise MissingSourceError(f"the source {path} does not exist")
    try:
        statuses = [(name, Path(name).stat()) for name in names]
    except OSError as error:
        raise SourceError(f"cannot read the source {path}: {error.strerror}: {error.filename}") from error
    return [SourceFile(name, status.st_size, str(status.st_mtime_ns)) for name, status in statuses]


def _unreadable(error: OSError) -> None:
    """Skipping a folder would leave its people out, and nobody would know."""
    raise SourceError(f"cannot read the source folder {error.filename}: {error.strerror}") from error


def _remote_files(uri: str, options: Mapping[str, str]) -> list[SourceFile]:
    # Not urlsplit: a pattern's `?` would begin a query.
    scheme, _, rest = uri.partition("://")
    container, _, path = rest.partition("/")
    bucket = StoreLocation.parse(f"{scheme}://{container}", options)
    path = path.strip("/")
    wild = [path.index(mark) for mark in _MAGIC if mark in path]
    # What a pattern matches is below the folder before its first wildcard.
    prefix = path[: min(wild)].rpartition("/")[0] if wild else path
    backend = open_backend(bucket)
    try:
        found = {
            item["path"]: item
            for page in obstore.list(backend, prefix=prefix or None, chunk_size=1000)
            for item in page
        }
        if not wild and path and not found:
            found = {path: obstore.head(backend, path)}
    except FileNotFoundError as error:
        raise MissingSourceError(f"the source {uri} does not exist") from error
    except BaseError as error:
        raise MissingSourceError(f"cannot list the source {uri}: {reason(error)}") from error
    if wild:
        matches = re.compile(_pattern(path)).fullmatch
        names = [name for name in found if matches(name)]
    elif path in found:
        names = [path]
    else:
        names = [name for name in found if _is_data(name.removeprefix(path).lstrip("/"))]
    if not names:
        raise MissingSourceError(f"no parquet file is at the source {uri}")
    return [
        SourceFile(
            f"{bucket.url}/{name}",
            found[name]["size"],
            found[name]["e_tag"] or found[name]["last_modified"].isoformat(),
        )
        for name in sorted(names)
    ]


def _pattern(path: str) -> str:
    """The regular expression of a glob, as `glob` reads one locally: no wildcard crosses `/` or finds hidden names."""
    *folders, last = path.split("/")
    parts = [r"(?:(?!\.)[^/]+/)*" if part == "**" else _segment(part) + "/" for part in folders]
    return "".join(parts) + (r"(?:(?!\.)[^/]+/)*(?!\.)[^/]+" if last == "**" else _segment(last))


def _segment(part: str) -> str:
    regex = "" if part.startswith(".") else r"(?!\.)"
    for piece in re.findall(r"\[!?\]?[^\]]*\]|.", part):
        if piece == "*":
            regex += "[^/]*"
        elif piece == "?":
            regex += "[^/]"
        elif len(piece) > 1:
            inside = piece[1:-1].replace("\\", r"\\")
            regex += f"(?!/)[^{inside[1:]}]" if inside.startswith("!") else f"(?!/)[{inside}]"
        else:
            regex += re.escape(piece)
    return regex


def _is_data(relative: str) -> bool:
    parts = relative.split("/")
    return parts[-1].endswith(_SUFFIXES) and not any(part.startswith(("_", ".")) for part in parts)
