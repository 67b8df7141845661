"""Files of manifests on local disks: read as documents, each with its place."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from subject_pipeline.errors import SourceError

_LINES = {".jsonl", ".ndjson"}


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON document, and its place: `file` or `file:line`."""

    where: str
    text: bytes


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a JSON lines file, of one JSON file, or of every `*.json` below a folder, sorted by name.

    Raises:
        SourceError: there is no such file, it cannot be read, or the folder holds no JSON file.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*.json") if file.is_file())
            if not files:
                raise SourceError(f"no *.json file is in the folder {path}")
            for file in files:
                yield Document(str(file), file.read_bytes())
        elif path.suffix in _LINES:
            with path.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield Document(f"{path}:{number}", line)
        elif path.suffix == ".json":
            yield Document(str(path), path.read_bytes())
        elif path.exists():
            raise SourceError(f"cannot import {path}: name it .jsonl, .ndjson or .json, or give a folder")
        else:
            raise SourceError(f"cannot import {path}: there is no such file or folder")
    except OSError as error:
        raise SourceError(f"cannot read {error.filename or path}: {error.strerror}") from error
