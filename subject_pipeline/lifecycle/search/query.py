"""What is looked for in the audit log: which rows match, and how they are counted."""

from collections import Counter
from dataclasses import dataclass

import polars as pl

ROWS = pl.Schema(
    {
        **dict.fromkeys(("ts", "candidate_id", "actor", "action", "result", "purpose", "dataset"), pl.String()),
        "fields": pl.List(pl.String()),
        **dict.fromkeys(("reason", "trace_id", "event_id"), pl.String()),
        "seq": pl.Int64(),
    }
)
"""One row of the log; null where it does not have the field."""

BY = {
    **{name: pl.col(name) for name in ("actor", "action", "result", "purpose", "dataset")},
    "subject": pl.col("candidate_id"),
    "day": pl.col("ts").str.slice(0, 10),
    "month": pl.col("ts").str.slice(0, 7),
}
"""What rows may be counted by. Days and months are of UTC."""

_EVERY_ROW_HAS = ("ts", "candidate_id", "actor", "action", "result", "seq")


@dataclass(frozen=True, slots=True)
class Query:
    """Which rows are looked for; what is None may be anything.

    Attributes:
        subject: the candidate id, whole.
        since: rows of this time or later, RFC 3339 in the store's form.
        until: rows before this time.
    """

    subject: str | None = None
    actor: str | None = None
    action: str | None = None
    result: str | None = None
    purpose: str | None = None
    since: str | None = None
    until: str | None = None

    def matching(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Those of some rows, `ROWS`, that match."""
        wanted = {"candidate_id": self.subject, "actor": self.actor, "action": self.action, "result": self.result,
                  "purpose": self.purpose}  # fmt: skip
        tests = [pl.col(name) == value for name, value in wanted.items() if value is not None]
        if self.since is not None:
            tests.append(pl.col("ts") >= self.since)
        if self.until is not None:
            tests.append(pl.col("ts") < self.until)
        return rows.filter(*tests)


def sound(rows: pl.DataFrame) -> pl.DataFrame:
    """Those of some rows, `ROWS`, that have what every row has."""
    return rows.filter(pl.col(name).is_not_null() for name in _EVERY_ROW_HAS)


def counted(rows: pl.DataFrame, by: tuple[str, ...]) -> Counter[tuple[str, ...]]:
    """How many rows have which values of `BY`; empty where a row does not have one."""
    groups = rows.group_by(BY[name].fill_null("").alias(name) for name in by).len()
    return Counter({tuple(values): count for *values, count in groups.iter_rows()})


def counts_table(counts: Counter[tuple[str, ...]], by: tuple[str, ...]) -> pl.DataFrame:
    """The counts as a table, the most frequent first."""
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    schema = {**dict.fromkeys(by, pl.String), "rows": pl.Int64}
    return pl.DataFrame([(*values, count) for values, count in found], schema=schema, orient="row")
