"""Files that are read line by line as streams: what one is, and the lines of one that holds JSON."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from subject_pipeline.errors import EventError, SourceError, SubjectPipelineError
from subject_pipeline.formats.strict_json import load_json

MAX_LINE = 4 << 20
"""Bytes of a line; a longer one is rejected and never wholly in memory."""

_REMEMBERED = 80


@dataclass(slots=True)
class FileLine:
    """One line of a file of events or decisions.

    Attributes:
        number: from 1; of a parquet file the row's.
        raw: what the line is hashed over; of a parquet row its known columns as JSON, without cells that cannot be
            taken, and nothing where a cell is too long.
        value: what it holds; None if `problem` says why not.
        problem: why it cannot be taken; empty if no reason is known.
    """

    number: int
    raw: bytes
    value: Any
    problem: str = ""


def check_ending(name: str, endings: Sequence[str]) -> None:
    """Refuse a file whose name does not say what is in it.

    Raises:
        SourceError: it ends in none of these.
    """
    if Path(name).suffix not in endings:
        raise SourceError(f"cannot read {name}: name it {', '.join(endings[:-1])} or {endings[-1]}")


@dataclass(frozen=True, slots=True)
class LineFile:
    """A file: the name that reports give it, and how to open it."""

    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @classmethod
    def local(cls, path: Path, endings: Sequence[str]) -> "LineFile":
        """A file on a local disk.

        Raises:
            SourceError: there is no such file, or its name ends otherwise.
        """
        check_ending(str(path), endings)
        if not path.is_file():
            raise SourceError(f"cannot read {path}: there is no such file")
        return cls(str(path), lambda: _opened(path))

    def lines(self, read: Callable[[str, BinaryIO], Iterator[FileLine]]) -> Generator[FileLine, None, None]:
        """The file's lines; anything that goes wrong while it is read is a failure of this file alone.

        Args:
            read: gives the lines of a file of this name.

        Raises:
            SourceError: it cannot be opened, or cannot be read to its end.
        """
        try:
            with self.open() as stream:
                yield from read(self.name, stream)
        except (SourceError, GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a Rust library is not an Exception
            # Others' errors may quote the file; ours never do.
            reason = str(error) if isinstance(error, SubjectPipelineError) else type(error).__name__
            raise SourceError(f"cannot read {self.name}: {reason}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except (FileNotFoundError, PermissionError) as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error


def json_lines(file: BinaryIO) -> Iterator[FileLine]:
    """The lines of a file of JSON lines, without blank ones; a byte order mark and line ends of Windows are taken."""
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield FileLine(number, line[:_REMEMBERED], None, f"longer than {MAX_LINE:,} bytes")
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        line = line.strip()
        if not line:
            continue
        try:
            value = load_json(line)
        except EventError as error:
            yield FileLine(number, line, None, str(error))
        else:
            yield FileLine(number, line, value)
