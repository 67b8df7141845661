"""Reads sources with one byte after the other flipped; a process of its own, because Polars may abort it.

Called with the step between two flips and parquet files; prints one line a violation.
"""

import sys
from pathlib import Path

import polars as pl

from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.errors import SourceError


def _read(path: Path) -> tuple[int, list[int]]:
    source = SourceKeys(find_source_files(str(path)), "key")
    batches = list(source.batches())
    return source.total_rows, pl.concat(batches)["row"].to_list() if batches else []


def main() -> None:
    """Flip, read and judge."""
    for path in map(Path, sys.argv[2:]):
        _flip(path, int(sys.argv[1]))


def _flip(path: Path, step: int) -> None:
    whole = path.read_bytes()
    for at in range(0, len(whole), step):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        try:
            total, rows = _read(path)
        except SourceError:
            continue
        except BaseException as error:  # noqa: BLE001 - a Rust panic is none of Exception
            print(f"{path.name} byte {at}: {type(error).__name__}: {error}", flush=True)  # noqa: T201
            continue
        if rows != list(range(total)):
            print(f"{path.name} byte {at}: {len(rows)} rows without an error, the footer has {total}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
