"""Files that name subjects: one id a line, or a table with a column `candidate_id`."""

import csv
from pathlib import Path

import polars as pl

from subject_pipeline.decisions.decision import candidate_check
from subject_pipeline.errors import SourceError

_COLUMN, _CHECK = "candidate_id", "candidate_check"


def read_ids(path: Path) -> list[str]:
    """The ids that a file names, each once, in its order; a `candidate_check` beside one must match it.

    Args:
        path: a `.csv` or `.parquet` file with the column, or any other text file with one id a line.

    Raises:
        SourceError: it cannot be read, names nobody, or an id does not match its check.
    """
    try:
        rows = _parquet(path) if path.suffix in {".parquet", ".pq"} else _texts(path)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"cannot read {path}: it is not UTF-8 text") from error
    for one, check in rows:
        if check and check != candidate_check(one):
            raise SourceError(f"cannot use {path}: {_CHECK} does not match {one!r}: was the id changed by a program?")
    ids = list(dict.fromkeys(one for one, _ in rows if one))
    if not ids:
        raise SourceError(f"cannot use {path}: it names nobody")
    return ids


def _texts(path: Path) -> list[tuple[str, str]]:
    text = path.read_text(encoding="utf-8-sig")
    lines = text.splitlines()
    if path.suffix != ".csv":
        return [(line, "") for line in lines if line]
    header = lines[0] if lines else ""
    rows = csv.DictReader(lines, delimiter=max(";,\t", key=header.count))
    if _COLUMN not in (rows.fieldnames or ()):
        raise SourceError(f"cannot read {path}: it has no column {_COLUMN}")
    try:
        return [(row[_COLUMN] or "", row.get(_CHECK) or "") for row in rows]
    except csv.Error as error:
        raise SourceError(f"cannot read {path}: {error}") from error


def _parquet(path: Path) -> list[tuple[str, str]]:
    try:
        plan = pl.scan_parquet(path, glob=False)
        columns = plan.collect_schema()
        if columns.get(_COLUMN) != pl.String:
            raise SourceError(f"cannot read {path}: it has no column {_COLUMN} of texts")
        check = pl.col(_CHECK) if columns.get(_CHECK) == pl.String else pl.lit("")
        found = plan.select(pl.col(_COLUMN).fill_null(""), check.fill_null("").alias(_CHECK)).collect()
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    return list(found.iter_rows())
