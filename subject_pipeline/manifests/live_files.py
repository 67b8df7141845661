"""The files that a version of the table consists of, as Delta's log names them: others can write there."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

_PLACE = re.compile(r"chunk=(chunk-[0-9a-f]+)/([^/\\]+)")


@dataclass(frozen=True, slots=True)
class LiveFile:
    """One file that a version of the table consists of.

    Attributes:
        path: relative to the table, as Delta's log has it: URL-encoded.
        chunk: its partition value; empty where it has none.
        stray: why no row of it may be believed; empty where its place is that of its partition value.
        inside: it lies in a chunk's folder of the table, so that it may be read at all.
        claimed: how many rows Delta's log says that it has; 0 where it does not. Nothing is decided by that.
    """

    path: str
    chunk: str
    stray: str = ""
    inside: bool = True
    claimed: int = 0


def live_files(table: DeltaTable, folder: Path | None, chunks: Collection[str]) -> list[LiveFile]:
    """The live files, sorted by path.

    Args:
        table: at the version in question.
        folder: where a local table lies.
        chunks: the store's chunks, by name.

    Raises:
        DeltaError: the log cannot be read; callers translate it.
    """
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    columns = ("path", "partition.chunk", "num_records")
    named = [] if actions.is_empty() else actions.select(columns).rows()
    return [
        replace(_placed(path, chunk or "", folder, chunks), claimed=rows or 0)
        for path, chunk, rows in sorted(named, key=str)
    ]


def _placed(path: str, chunk: str, folder: Path | None, chunks: Collection[str]) -> LiveFile:
    place = _PLACE.fullmatch(unquote(path))
    if place is None or place[2].startswith("."):
        stray = f"Delta's log names the file {path!r}, which lies in no chunk's folder"
        return LiveFile(path, chunk, stray, inside=False)
    if folder is not None:
        file = folder / unquote(path)
        if file.is_symlink() or os.path.realpath(file.parent) != os.path.realpath(folder) + f"/{file.parent.name}":
            stray = f"the file {path!r} of the table is a link, or lies behind one"
            return LiveFile(path, chunk, stray, inside=False)
    if place[1] != chunk or chunk not in chunks:
        return LiveFile(path, chunk, f"Delta's log says that the file {path!r} holds the chunk {chunk!r}")
    return LiveFile(path, chunk)
