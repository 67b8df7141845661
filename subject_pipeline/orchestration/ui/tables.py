"""What the parts of the UI share: metadata, and the result of a check with a table of what it found."""

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

SHOWN = 500
"""Rows of a table on a page; all are counted."""

Value = dg.MetadataValue | int | float | str
Metadata = Mapping[str, Value]
Row = dict[str, str | int]


def check(
    name: str,
    count: int,
    offenders: Sequence[Row],
) -> dg.AssetCheckResult:
    """A check's result, with a table of what was found."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not count,
        description=f"{count:,} found" if count else "nothing found",
        metadata={
            "found": count,
            "offenders": problems_table(offenders),
        },
    )


def problems_table(rows: Iterable[Row]) -> dg.MetadataValue:
    """At most 500 problems, a row each."""
    shown = list(rows)[:SHOWN]
    columns = list(shown[0]) if shown else ["candidate_id", "kind", "detail"]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(row)) for row in shown],
        schema=dg.TableSchema(columns=[dg.TableColumn(name) for name in columns]),
    )
