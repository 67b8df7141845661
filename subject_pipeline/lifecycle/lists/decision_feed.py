"""The feed of decisions: what was decided about people, for processors downstream, in the order of recording."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson
import polars as pl

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore

_TEXTS = (
    "recorded_at",
    "kind",
    "decision_id",
    "ts",
    "actor",
    "reason",
    "evidence",
    "approved_by",
    "scope",
    "version",
    "until",
    "vertical",
    "policy",
    "hold_id",
    "policies_sha256",
)
_JSON = "changes"
_OTHERS = "others"
FEED_SCHEMA = pl.Schema(
    {"candidate_id": pl.String, "seq": pl.Int64, **dict.fromkeys((*_TEXTS, _JSON, _OTHERS), pl.String)}
)
"""One decision a row, for files with columns; `changes` is JSON text, and so is what has no column, in `others`."""

Recorded = dict[str, Any]
"""One decision as its row records it, with `candidate_id` and `seq`."""


class FeedConditions(NamedTuple):
    """Which decisions are wanted; None: all.

    Attributes:
        since: a time in the store's form; recorded then or later.
        subject: a candidate id.
        kind: a kind, the registry's own ones included.
    """

    since: str | None = None
    subject: str | None = None
    kind: str | None = None

    def met(self, decision: Mapping[str, Any]) -> bool:
        """Whether a recorded decision is wanted."""
        return (self.since is None or str(decision.get("recorded_at", "")) >= self.since) and (
            self.kind is None or decision.get("kind") == self.kind
        )


def recorded_decisions(
    store: SubjectStore, evidence: ManifestEvidence, conditions: FeedConditions
) -> Iterator[list[Recorded]]:
    """Decisions chunk by chunk, those of a chunk in the order in which they were recorded.

    Only rows are read that lead to the known end of a chain. What the registry decides by itself is there too:
    `registered` after a deletion, `replaced`, `deleted`, `linked`, `erased`; a first registration has no row.

    Args:
        store: whose.
        evidence: reads the log with the key ring.
        conditions: which ones.

    Raises:
        KeyRingError: there is no usable key ring.
        AuditLogError: a log is damaged.
        StoreError: the store failed.
    """
    layout = store.layout()
    if layout is None or not evidence.open():
        return
    chunks = layout.chunks
    subject = conditions.subject
    for chunk in chunks.names if subject is None else [chunks.chunk_of(storage_key(subject))]:
        recorded = evidence.recorded(chunk)
        histories = recorded.all_histories() if subject is None else recorded.histories([subject])
        found = [
            {"candidate_id": candidate_id, "seq": row.evidence.seq, **row.decision}
            for candidate_id, rows in histories.items()
            for row in rows
            if conditions.met(row.decision)
        ]
        yield sorted(found, key=lambda one: (str(one.get("recorded_at", "")), one["candidate_id"], one["seq"]))


def feed_frame(decisions: list[Recorded]) -> pl.DataFrame:
    """Decisions as `FEED_SCHEMA`."""
    return pl.DataFrame([_columns(one) for one in decisions], schema=FEED_SCHEMA)


def _columns(decision: Recorded) -> dict[str, Any]:
    texts = {name: decision[name] for name in _TEXTS if isinstance(decision.get(name), str)}
    others = {name: value for name, value in decision.items() if name not in texts and name not in FEED_SCHEMA}
    return {
        "candidate_id": decision["candidate_id"],
        "seq": decision["seq"],
        **texts,
        _JSON: orjson.dumps(decision[_JSON]).decode() if _JSON in decision else None,
        _OTHERS: orjson.dumps(others).decode() if others else None,
    }
