"""What the certificate of one erasure says: from its row, from a checkpoint, and from a look at the store."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.lifecycle.erasure.certificate import MAX_REMAINING, SCHEMA, UNREACHABLE, id_mac
from subject_pipeline.lifecycle.erasure.left_behind import LeftBehind
from subject_pipeline.lifecycle.erasure.matching import is_trace
from subject_pipeline.lifecycle.erasure.traces import Traces


@dataclass(frozen=True, slots=True)
class Erased:
    """Somebody who is erased, as the chain says.

    Attributes:
        row: of the erasure.
        sha256: its leaf hash.
        mac: what the certificate names the erasure by.
        ordered: the order that was carried out; None: a manifest was imported with it.
        released: holds that were released before.
    """

    candidate_id: str
    chunk: str
    row: Mapping[str, Any]
    sha256: str
    mac: str
    ordered: Mapping[str, Any] | None
    released: int


def document_of(
    one: Erased, ring: KeyRing, checkpoint: Checkpoint, traces: Traces, left: LeftBehind, remaining: Sequence[str]
) -> dict[str, Any]:
    """The certificate's document; no text in it holds the id.

    Args:
        one: whose.
        ring: its active key makes `id_mac`.
        checkpoint: anchors the row.
        traces: what the look found.
        left: the table and the staging at that time.
        remaining: the objects that hold the id for a time.
    """
    decision = one.row["decision"]
    before = max(0, decision.get("table_version", 0))

    def told(text: str) -> str:
        hidden = is_trace(one.candidate_id, text, is_value=True, by_chance=True)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if hidden else text

    ordered = one.ordered and {
        "at": one.ordered["ts"],
        "by": told(one.ordered["actor"]),
        "approved_by": told(one.ordered["approved_by"]) if "approved_by" in one.ordered else None,
    }
    return {
        "schema": SCHEMA,
        "log_id": checkpoint.statement.log_id,
        "id_mac": {"key_id": ring.active, "mac": id_mac(ring.active_key, one.candidate_id)},
        "erasure_mac": one.mac,
        "row": {"chunk": one.chunk, "seq": one.row["seq"], "sha256": one.sha256},
        "ordered": ordered,
        "erased": {"at": decision["recorded_at"], "by": told(one.row["actor"])},
        "holds": {"looked_for_at": decision["recorded_at"], "standing": 0, "released": one.released},
        "table": {
            "version_before": before,
            "version_after": left.version,
            "files_removed": left.files_removed(one.chunk, before),
        },
        "staged_parts_rewritten": left.parts_rewritten(one.chunk, decision["recorded_at"]),
        "looked": {"at": traces.at, "objects": traces.objects},
        "checkpoint": {"number": checkpoint.number, "root": checkpoint.root},
        "remaining": sorted(map(told, remaining[:MAX_REMAINING])),
        "remaining_objects": len(remaining),
        "unreachable": list(UNREACHABLE),
    }
