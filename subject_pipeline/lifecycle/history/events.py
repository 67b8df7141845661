"""The events of one subject's life, in order of time: registered, each decision, each access."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from subject_pipeline.audit.events import EVIDENCE_PREFIX
from subject_pipeline.lifecycle.history.chains import Anchoring, Row

Event = dict[str, Any]
"""`at` and `what`, then what is particular to it."""

ACCESS = "access"
"""`what` of an access; of a decision it is the decision's kind."""

_OF_ACCESS = ("action", "actor", "result", "dataset", "fields", "purpose", "reason", "trace_id")
_ELSEWHERE = frozenset({"kind", "candidate_id"})
"""Of a decision: what stands in the event, or above all of them, under another name."""


def events_of(
    manifest: Mapping[str, Any] | None, rows: Sequence[Row], anchoring: Anchoring | None, *, folded: bool
) -> list[Event]:
    """A subject's events in order of time; of equal times, in the order in which they were recorded.

    Args:
        manifest: the table's; None: it has none.
        rows: the chain.
        anchoring: what the latest checkpoint covers.
        folded: accesses of one day, UTC, with one action become one event, with their number by result.
    """
    found = [*_first_registration(manifest, rows, anchoring)]
    accesses: list[Row] = []
    for row in rows:
        if row["action"].startswith(EVIDENCE_PREFIX):
            found.append(_decision(row, anchoring))
        else:
            accesses.append(row)
    found += _folded(accesses, anchoring) if folded else [_access(row, anchoring) for row in accesses]
    return sorted(found, key=lambda event: (event["at"], event.get("seq", -1)))


def without_actors(events: Iterable[Event]) -> list[Event]:
    """The events without who did it: what the person themselves may be given of other people."""
    return [{name: value for name, value in one.items() if name not in {"actor", "approved_by"}} for one in events]


def _first_registration(
    manifest: Mapping[str, Any] | None, rows: Sequence[Row], anchoring: Anchoring | None
) -> Iterator[Event]:
    """A first registration has no row; once there was a deletion, the manifest is no longer that one."""
    deleted = any("decision" in row and "manifest_sha256" not in row for row in rows)
    if manifest is None or deleted:
        return
    datasets = manifest.get("datasets") or [{}]
    yield {
        "at": manifest["created_at"],
        "what": "registered",
        **({"dataset": datasets[0]["name"]} if datasets[0] else {}),
        "anchored": anchoring is not None and anchoring.entry is not None,
    }


def _decision(row: Row, anchoring: Anchoring | None) -> Event:
    order = {name: value for name, value in row["decision"].items() if name not in _ELSEWHERE}
    return {
        "at": row["ts"],
        "what": row["decision"]["kind"],
        "seq": row["seq"],
        "actor": row["actor"],
        **order,
        "anchored": _is_anchored(row["seq"], anchoring),
    }


def _access(row: Row, anchoring: Anchoring | None) -> Event:
    return {
        "at": row["ts"],
        "what": ACCESS,
        "seq": row["seq"],
        **{name: row[name] for name in _OF_ACCESS if name in row},
        "anchored": _is_anchored(row["seq"], anchoring),
    }


def _folded(accesses: Iterable[Row], anchoring: Anchoring | None) -> list[Event]:
    folds: dict[tuple[str, str], Event] = {}
    for row in accesses:
        key = row["ts"][:10], row["action"]
        fold = folds.setdefault(
            key,
            {"at": row["ts"], "until": row["ts"], "what": ACCESS, "seq": row["seq"], "action": row["action"],
             "count": 0, "results": {}, "anchored": True},
        )  # fmt: skip
        fold["at"], fold["until"] = min(fold["at"], row["ts"]), max(fold["until"], row["ts"])
        fold["count"] += 1
        fold["results"][row["result"]] = fold["results"].get(row["result"], 0) + 1
        fold["anchored"] = fold["anchored"] and _is_anchored(row["seq"], anchoring)
    return list(folds.values())


def _is_anchored(seq: int, anchoring: Anchoring | None) -> bool:
    return anchoring is not None and seq <= anchoring.seq
