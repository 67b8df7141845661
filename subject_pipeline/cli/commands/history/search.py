"""`audit search`: which accesses there were, or how many by whom and what for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
import polars as pl

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.cli.moments import MOMENT
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.lists.files import CSV, JSON_LINES, PARQUET, check_ending, write_frames
from subject_pipeline.lifecycle.search.query import BY, ROWS, Query, counted, counts_table
from subject_pipeline.lifecycle.search.searching import Found
from subject_pipeline.lifecycle.search.searching import search as search_log

_MOST_SHOWN = 10_000
_SHOWN = ("ts", "candidate_id", "actor", "action", "result", "purpose", "dataset")


def _columns(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name.strip() for name in value.split(","))) if value is not None else ()
    unknown = [name for name in found if name not in BY]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(BY)}")
    return found


@click.command()
@click.option("--subject", metavar="ID", help="Rows of one subject; only their segments are read.")
@click.option("--actor", metavar="A", help="Rows of one actor.")
@click.option("--action", metavar="X", help="Rows of one action.")
@click.option("--result", type=click.Choice(RESULT_STATES), help="Rows with one result.")
@click.option("--purpose", metavar="P", help="Rows with one purpose.")
@click.option("--since", type=MOMENT, metavar="TIME", help="Rows of this time or later; a day begins at midnight, UTC.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Rows before this time.")
@click.option("--by", callback=_columns, metavar="COLUMN,...", help=f"Count rows by these: {', '.join(BY)}.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write to a .csv, .parquet or .jsonl.")
@command_options
def search(shell: Shell, by: tuple[str, ...], out: Path | None, **wanted: str | None) -> None:
    """Find rows of the audit log, or count them by subject, actor, purpose and more; nothing is verified."""
    if out is not None:
        check_ending(out, (CSV, JSON_LINES, PARQUET))
    tally = _Tally()
    frames = tally.through(search_log(shell.existing_store(), Query(**wanted)))
    if by:
        table = counts_table(sum((counted(rows, by) for rows in frames), Counter()), by)
        if out is not None:
            write_frames(out, [table], table.schema)
    elif out is not None:
        write_frames(out, frames, ROWS)
        table = pl.DataFrame(schema=ROWS)
    else:
        table = _first(frames)
    _tell(shell, table, by, out, tally)
    if tally.unread:
        say(
            f"{tally.unreadable:,} lines and {len(tally.lost):,} segments could not be read: see `subject-pipeline "
            "audit verify`"
        )
    end(SOMETHING_FAILED if tally.unread else DONE)


@dataclass(slots=True)
class _Tally:
    """What a search went through so far."""

    matched: int = 0
    unreadable: int = 0
    lost: list[str] = field(default_factory=list)

    @property
    def unread(self) -> bool:
        """Whether anything could not be read."""
        return bool(self.unreadable or self.lost)

    def through(self, found: Iterable[Found]) -> Iterator[pl.DataFrame]:
        """The rows of each segment, counted as they pass."""
        for one in found:
            self.matched += one.rows.height
            self.unreadable += one.unreadable
            self.lost += [one.lost] if one.lost else []
            yield one.rows


def _first(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The first 10,000 rows; all frames are gone through, to count the others."""
    kept = pl.DataFrame(schema=ROWS)
    for rows in frames:
        if kept.height < _MOST_SHOWN:
            kept = kept.vstack(rows.head(_MOST_SHOWN - kept.height))
    return kept


def _tell(shell: Shell, table: pl.DataFrame, by: tuple[str, ...], out: Path | None, tally: _Tally) -> None:
    matched, numbers = tally.matched, asdict(tally)
    if out is not None:
        shell.tell({**numbers, "out": str(out)}, f"{matched:,} rows match; written to {out}")
        return
    name = "counts" if by else "rows"
    rows = [{key: value for key, value in row.items() if value is not None} for row in table.iter_rows(named=True)]
    shell.tell({**numbers, name: rows}, _words(table if by else table.select(_SHOWN), matched))
    if not by and matched > table.height:
        say(f"the first {table.height:,} of {matched:,} rows; --out FILE writes all of them")


def _words(table: pl.DataFrame, matched: int) -> str:
    """A table in columns of equal width."""
    lines = [table.columns, *([shown("" if value is None else str(value)) for value in row] for row in table.rows())]
    widths = [max(len(line[at]) for line in lines) for at in range(table.width)]
    told = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*told, f"{matched:,} rows match"])
