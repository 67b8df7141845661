"""What the Dagster UI shows of a compliance report: numbers to plot, tables, a chart, where it lies, and its checks."""

import base64
from collections.abc import Mapping, Sequence

import dagster as dg

from subject_pipeline.audit.result_state import RESULT_STATES
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.orchestration.ui.tables import Metadata, Row, Value
from subject_pipeline.reports.charts import accesses_chart
from subject_pipeline.reports.numbers import ComplianceNumbers, Results
from subject_pipeline.reports.page import svg
from subject_pipeline.reports.report import ComplianceReport
from subject_pipeline.reports.words import AGE_NAMES, DUE_LIST, findings, lists, pending_list

RETENTION_NOT_OVERDUE = "retention_is_not_overdue"
CONSENT_NOT_PENDING = "consent_is_not_pending_too_long"

_SHOWN = 100
_COMMAND = "subject-pipeline "


def report_metadata(report: ComplianceReport) -> Metadata:
    """Numbers of one report, its tables, and where it lies."""
    numbers = report.numbers
    found: dict[str, Value] = dict(numbers.headline)
    found["report"] = _place(report)
    found["report_key"] = report.stored.key("report.html")
    found["report_sha256"] = report.page_sha256
    found["findings"] = dg.MetadataValue.md(
        "\n".join(f"- **{one.mark}**: {_markdown(one.words)}" for one in findings(numbers))
    )
    chart = accesses_chart(numbers)
    if chart is not None:
        # Dagster's page lets `data:` through in an image's address, and takes every SVG element out of Markdown.
        data = base64.b64encode(svg(chart).encode()).decode()
        found["accesses_chart"] = dg.MetadataValue.md(f"![{chart.title}](data:image/svg+xml;base64,{data})")
    found["subjects_table"] = _subjects(numbers)
    found["accesses_by_action"] = _results("action", numbers.accesses.by_action)
    # Who accessed may be a person, so that only the report in the store names them.
    found["actors"] = len(numbers.accesses.by_actor)
    found["accesses_by_purpose"] = _results("purpose", numbers.accesses.by_purpose)
    decided: list[Row] = [
        {"month": month, "kind": kind, "decisions": count}
        for month, kinds in numbers.accesses.decisions.items()
        for kind, count in kinds.items()
    ]
    found["decisions_by_month"] = _table(decided[:_SHOWN], ["month", "kind", "decisions"])
    found["listed_by"] = _table(
        [{"what": one.what, "count": one.count, "command": _COMMAND + one.command} for one in lists(numbers)],
        ["what", "count", "command"],
    )
    if numbers.checkpoint is not None:
        found["checkpoint_note_sha256"] = numbers.checkpoint.note_sha256
        found["checkpoint_root"] = numbers.checkpoint.root
    if numbers.history is not None:
        since = numbers.history.full_since
        found["fully_verified_since"] = dg.MetadataValue.timestamp(since) if since else "not every partition ever was"
        found["red_partitions"] = ", ".join(numbers.history.red) or "none"
    return found


def report_check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks that every report reports."""
    return [
        dg.AssetCheckSpec(
            RETENTION_NOT_OVERDUE,
            asset=asset,
            description="Nobody is past the retention date in the manifest, of general or of biometric data, unless a "
            f"legal hold stands. `{_COMMAND}{DUE_LIST}` lists them. This only warns: erase them, or record why "
            "the data may stay.",
        ),
        dg.AssetCheckSpec(
            CONSENT_NOT_PENDING,
            asset=asset,
            description="No consent to hold general personal data is undecided for "
            "more than `consent_pending_days` of the platform since the manifest was made. This only warns.",
        ),
    ]


def report_checks(numbers: ComplianceNumbers) -> list[dg.AssetCheckResult]:
    """What the checks found, in numbers: who it is, a command lists."""
    subjects, reviews = numbers.subjects, numbers.subjects.reviews
    scopes = {f"due_{scope}": count for scope, count in reviews.due.items()}
    return [
        _check(RETENTION_NOT_OVERDUE, subjects.overdue_unheld, DUE_LIST, **scopes, held=reviews.due_held),
        _check(CONSENT_NOT_PENDING, subjects.pending_too_long, pending_list(subjects.pending_days), **reviews.pending),
    ]


def _check(name: str, found: int, command: str, **counts: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found:,} found" if found else "nothing found",
        metadata={"found": found, **counts, "listed_by": _COMMAND + command},
    )


def _place(report: ComplianceReport) -> dg.MetadataValue:
    """The page as one opens it: a path on this machine, or a bucket's URL."""
    if report.url.startswith("file://"):
        return dg.MetadataValue.path(report.url)
    return dg.MetadataValue.url(report.url)


def _subjects(numbers: ComplianceNumbers) -> dg.MetadataValue:
    subjects = numbers.subjects
    breakdowns = {
        "status": subjects.by_status,
        "vertical": subjects.by_vertical,
        **{f"consent {scope}": counts for scope, counts in subjects.reviews.consent.items()},
        "consent undecided": {AGE_NAMES[age]: count for age, count in subjects.reviews.pending.items()},
        "retention policy": subjects.by_policy,
        "dataset": subjects.by_dataset,
        "retention ends": subjects.retention,
        "biometric retention ends": subjects.biometric_retention,
    }
    rows: list[Row] = [
        {"by": by, "value": shown(value) or "(none)", "subjects": count}
        for by, counts in breakdowns.items()
        for value, count in list(counts.items())[:_SHOWN]
    ]
    return _table(rows, ["by", "value", "subjects"])


def _results(name: str, counts: Mapping[str, Results]) -> dg.MetadataValue:
    rows: list[Row] = [
        {name: shown(value) or "(none)", "accesses": sum(results.values()), **results}
        for value, results in list(counts.items())[:_SHOWN]
    ]
    return _table(rows, [name, "accesses", *RESULT_STATES])


def _table(rows: Sequence[Row], columns: Sequence[str]) -> dg.MetadataValue:
    numbers = {name for row in rows for name, value in row.items() if isinstance(value, int)}
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(row)) for row in rows],
        schema=dg.TableSchema(
            columns=[dg.TableColumn(name, type="int" if name in numbers else "string") for name in columns]
        ),
    )


def _markdown(words: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#+!|" else char for char in words)
