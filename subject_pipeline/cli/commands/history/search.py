"""`audit search`: which accesses there were, or how many by whom and what for."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import polars as pl

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.cli.moments import MOMENT
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.lifecycle.row_files import Write, table_file
from subject_pipeline.lifecycle.searched_rows import BY, ROWS, Query, counted, counts_table
from subject_pipeline.lifecycle.searching import search as search_log

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
    counts: Counter[tuple[str, ...]] = Counter()
    kept: list[pl.DataFrame] = []
    matched = unreadable = held = 0
    lost: list[str] = []
    with ExitStack() as stack:
        store = shell.existing_store()
        write: Write | None = None
        if out is not None and not by:
            write = stack.enter_context(table_file(out, ROWS))
        for found in search_log(store, shell.key_ring(), Query(**wanted)):
            matched += found.rows.height
            unreadable += found.unreadable
            lost += [found.lost] if found.lost else []
            if by:
                counts += counted(found.rows, by)
            elif write is not None:
                write(found.rows)
            elif held < _MOST_SHOWN:
                kept.append(found.rows.head(_MOST_SHOWN - held))
                held += kept[-1].height
    table = counts_table(counts, by) if by else pl.concat([pl.DataFrame(schema=ROWS), *kept])
    if by and out is not None:
        with table_file(out, table.schema) as write:
            write(table)
    _tell(shell, table, by, out, {"matched": matched, "unreadable": unreadable, "lost": lost})
    if unreadable or lost:
        say(f"{unreadable:,} lines and {len(lost):,} segments could not be read: see `subject-pipeline audit verify`")
    end(SOMETHING_FAILED if unreadable or lost else DONE)


def _tell(shell: Shell, table: pl.DataFrame, by: tuple[str, ...], out: Path | None, numbers: dict[str, Any]) -> None:
    matched = numbers["matched"]
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
