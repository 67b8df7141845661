"""What an alert says: one JSON message for one run that failed or whose checks are red.

It names job, assets, checks, partitions and counts, and links to the run; never a subject's id and no text that a run
wrote, because an error's or a check's words may hold ids and a chat is no place for them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

SCHEMA = "subject_alert.v1"
_FIELD_CHARACTERS = 200
_TEXT_CHARACTERS = 3_000
_CHECKS = 20
_PARTITIONS = 10
_COUNTS = 8
_ERROR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,79}")

Severity = Literal["error", "warn"]
Message = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RedCheck:
    """A check that did not pass.

    Attributes:
        asset: its asset's key, as `workers/subject_manifests`.
        check: its name.
        severity: as the evaluation said.
        counts: the evaluation's whole numbers, by name.
        partitions: those that its tables name; empty where it names none.
    """

    asset: str
    check: str
    severity: Severity
    counts: Mapping[str, int]
    partitions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A step that failed.

    Attributes:
        step: its key.
        asset: the asset that it makes; None where it makes none.
        error: only the error's class, such as `StoreError`.
    """

    step: str
    asset: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Alert:
    """One run that somebody should look at.

    Attributes:
        job: the run's job.
        run: its id.
        failed: whether the run failed; else it succeeded with red checks.
        partitions: what the run was launched over, as `chunk-07` or `chunk-00...chunk-3f`; None: no partitions.
        reason: why Dagster says that it failed, as `STEP_FAILURE`.
        steps: what failed.
        checks: what is red.
        link: the run's page.
    """

    job: str
    run: str
    failed: bool
    partitions: str | None
    reason: str | None
    steps: Sequence[FailedStep]
    checks: Sequence[RedCheck]
    link: str

    @property
    def severity(self) -> Severity:
        """`error` where the run failed or any red check is one; `warn` where every red check only warns."""
        return "error" if self.failed or any(check.severity == "error" for check in self.checks) else "warn"


def alert_id(run: str) -> str:
    """The same for every message about one run, so that a receiver can drop ids that it has seen."""
    return f"run/{run}"


def error_name(*words: str | None) -> str:
    """The error's class from words such as `StoreError: ...`, the first that has one; never what follows it."""
    for text in words:
        found = _ERROR_NAME.match(text or "")
        if found and (text or "")[found.end() :].startswith(":"):
            return found.group().rpartition(".")[2]
    return "Error"


def span(first: str | None, last: str | None) -> str | None:
    """A range of partitions in one word."""
    if first is None or last is None or first == last:
        return first or last
    return f"{first}...{last}"


def message(alert: Alert) -> Message:
    """The message: `text` for a chat, the rest for programs. Bounded, whatever names hold.

    `asset` and `check` are those of the most severe finding, for receivers that route by them; `steps` and `checks`
    hold at most 20 each, and `checks_red` counts all.
    """
    checks = sorted(alert.checks, key=lambda one: (one.severity != "error", one.asset, one.check))
    steps = list(alert.steps)
    asset = next((step.asset for step in steps if step.asset), None) or (checks[0].asset if checks else None)
    return {
        "schema": SCHEMA,
        "alert_id": alert_id(alert.run),
        "severity": alert.severity,
        "kind": "run_failed" if alert.failed else "checks_red",
        "text": _text(alert, checks),
        "description": _plain(_headline(alert, len(checks))),
        "job": _plain(alert.job),
        "run": alert.run,
        "asset": None if asset is None else _plain(asset),
        "check": _plain(checks[0].check) if checks else None,
        "partitions": None if alert.partitions is None else _plain(alert.partitions),
        "link": alert.link,
        "reason": None if alert.reason is None else _plain(alert.reason),
        "steps": [
            {
                "step": _plain(one.step),
                "asset": None if one.asset is None else _plain(one.asset),
                "error": _plain(one.error),
            }
            for one in steps[:_CHECKS]
        ],
        "checks_red": len(checks),
        "checks": [
            {
                "asset": _plain(one.asset),
                "check": _plain(one.check),
                "severity": one.severity,
                "counts": {_plain(name): count for name, count in list(one.counts.items())[:_COUNTS]},
                "partitions": _partitions(one.partitions),
            }
            for one in checks[:_CHECKS]
        ],
    }


def _headline(alert: Alert, red: int) -> str:
    where = f" over {alert.partitions}" if alert.partitions else ""
    what = "Run failed" if alert.failed else "Checks red" if alert.severity == "error" else "Checks warn"
    also = f", {red} checks red" if alert.failed and red else ""
    return f"{what}: {alert.job}{where}{also}"


def _text(alert: Alert, checks: Sequence[RedCheck]) -> str:
    """Slack's `text`: its three control characters are escaped, so that no name can mention, link or call anybody."""
    lines = [_headline(alert, len(checks))]
    lines += [f"- {one.asset or one.step} failed: {one.error}" for one in alert.steps[:_CHECKS]]
    if alert.failed and not alert.steps and alert.reason:
        lines.append(f"- {alert.reason}")
    for one in checks[:_CHECKS]:
        counts = ", ".join(f"{name} {count:,}" for name, count in list(one.counts.items())[:_COUNTS])
        partitions = f" in {_partitions(one.partitions)}" if one.partitions else ""
        lines.append(f"- {one.asset}: {one.check} ({one.severity}){partitions}{': ' if counts else ''}{counts}")
    if len(checks) > _CHECKS:
        lines.append(f"- and {len(checks) - _CHECKS:,} more")
    kept = _within(_escape(_plain(line)) for line in lines)
    return "\n".join([*kept, _escape(alert.link)])


def _within(lines: Iterable[str]) -> list[str]:
    """Whole lines, as many as fit, so that no escape is cut in two."""
    kept: list[str] = []
    room = _TEXT_CHARACTERS
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return [*kept, "- and more"]
        kept.append(line)
    return kept


def _partitions(names: Sequence[str]) -> str | None:
    if not names:
        return None
    shown = ", ".join(names[:_PARTITIONS])
    more = len(names) - _PARTITIONS
    return _plain(f"{shown} and {more:,} more" if more > 0 else shown)


def _plain(text: str) -> str:
    """Bounded, and without line breaks, control characters or marks that turn the direction of writing."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return shown if len(shown) <= _FIELD_CHARACTERS else f"{shown[: _FIELD_CHARACTERS - 3]}..."


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
