"""Whom to erase without being told ids: those who are ordered to be erased, and those who are past their date."""

import datetime as dt
from collections.abc import Callable

import polars as pl

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.decisions.decision import GENERAL_PII
from subject_pipeline.decisions.retention import due
from subject_pipeline.decisions.transitions import is_ordered
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.frames import TABLE_SCHEMA
from subject_pipeline.manifests.rows import PROBLEM
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.opened import SubjectStore


def ordered(store: SubjectStore, evidence: ManifestEvidence) -> list[str]:
    """Everybody whose erasure is ordered, held or not, and who was erased and is not gone; otherwise as `past_date`."""
    word = pl.col("status") == "erasure_ordered"
    noted = pl.col("extra").str.contains('"erasure_ordered_at"', literal=True).fill_null(value=False)
    return _all_who(store, evidence, word | noted, is_ordered)


def past_date(store: SubjectStore, evidence: ManifestEvidence, now: dt.datetime) -> list[str]:
    """Everybody whose general personal data may be kept no longer, held or not, and who was erased and is not gone.

    Args:
        store: whose.
        evidence: opened.
        now: data may be kept until before this time.

    Raises:
        AuditLogError: a log is damaged.
        StoreError: the store failed.
    """
    over = pl.col("retention").struct.field("general_pii_until") <= now
    text = format_time(now)
    return _all_who(store, evidence, over, lambda one: GENERAL_PII in due(one, text))


def _all_who(
    store: SubjectStore, evidence: ManifestEvidence, column: pl.Expr, fits: Callable[[Document], bool]
) -> list[str]:
    """The ids of everybody whose manifest, as the log has it, fits; of one version of the table, opened once.

    Args:
        store: whose.
        evidence: opened.
        column: tells it of the table's rows.
        fits: tells it of a manifest's JSON, where the table is behind the log.
    """
    layout = store.layout()
    names = layout.chunks.names if layout else ()

    def found(rows_of: Callable[[str], pl.DataFrame]) -> list[str]:
        return [one for chunk in names for one in _of_chunk(evidence, chunk, rows_of(chunk), column, fits)]

    def read(snapshot: Snapshot) -> tuple[list[str]]:
        return (found(lambda chunk: snapshot.judged_rows([chunk])),)

    nobody = pl.DataFrame(schema={**TABLE_SCHEMA, PROBLEM: pl.String})
    there = ManifestTable(store).read(read, None)
    return found(lambda _: nobody) if there is None else there[0]


def _of_chunk(
    evidence: ManifestEvidence, chunk: str, every: pl.DataFrame, column: pl.Expr, fits: Callable[[Document], bool]
) -> list[str]:
    rows = every.filter(pl.col(PROBLEM).is_null()).drop(PROBLEM)
    found = dict.fromkeys(rows.filter(column)["candidate_id"])
    recorded = evidence.recorded(chunk)  # read after the table, so never behind it
    for one, that in recorded.unsettled(rows).items():
        if isinstance(that, Standing):  # what the log does not explain is refused when it is to be erased
            found.pop(one, None)
            if that.document is not None and fits(that.document):
                found[one] = None
    # What a killed erasure left in the table, or a restored backup brought back.
    return list(found | dict.fromkeys(recorded.erased(recorded.among(rows)["candidate_id"].to_list())))
