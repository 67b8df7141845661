"""A Dagster home with files, and where in it a text is: in any table, file or name."""

import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import dagster as dg


@contextmanager
def instance_in(home: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that keeps runs, events, ticks and the output of steps in files below a folder."""
    home.mkdir(parents=True, exist_ok=True)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield instance


@contextmanager
def own_descriptors(printed: Path) -> Iterator[None]:
    """Let a step's output be what Dagster keeps of it: pytest's own capture would have it otherwise."""
    with ExitStack() as stack:
        file = stack.enter_context(printed.open("wb"))
        for number, name in ((1, "stdout"), (2, "stderr")):
            before = os.dup(number)
            stack.callback(os.close, before)
            stack.callback(os.dup2, before, number)
            os.dup2(file.fileno(), number)
            stack.callback(setattr, sys, name, getattr(sys, name))
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        yield


def where_it_says(home: Path, words: Iterable[str]) -> dict[str, set[str]]:
    """The places that hold each text: the files by what their bytes and their names say, databases by their cells too.

    Case counts for nothing. Texts that are nowhere are left out.
    """
    wanted = {word: word.lower().encode() for word in words}
    found: dict[str, set[str]] = {}
    for place, said in _said(home):
        lower = said.lower()
        for word, bytes_ in wanted.items():
            if bytes_ in lower:
                found.setdefault(word, set()).add(place)
    return found


def _said(home: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home).as_posix()
        yield name, name.encode()
        if path.is_file():
            yield name, path.read_bytes()
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
                for table in tables:
                    for row in database.execute(f'select * from "{table}"'):  # noqa: S608 - a table of the list
                        yield f"{name}: {table}", repr(row).encode()
