"""Inclusion proofs: a signed checkpoint holds a subject's entry, for anyone who has neither the store nor a key.

What is proven is that the entry is among those signed. Index and size only lead along the path: they are not signed.
"""

import re
from collections.abc import Sequence
from typing import Any

from subject_pipeline.checkpoints.checkpoint import CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.merkle import inclusion_path, root_of_path
from subject_pipeline.checkpoints.signed_notes import open_note, parse_verifier_line
from subject_pipeline.errors import CheckpointError

PROOF_SCHEMA = "subject_proof.v1"

_FIELDS = {"schema", "candidate_id", "seq", "mac", "note", "verifier", "chunk", "entry"}
_STEP_FIELDS = {"leaf", "index", "size", "path"}
_MAX_SIZE = 2**53 - 1  # of I-JSON (RFC 7493, section 2.2)
_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch


def build_proof(
    note: str,
    verifier: str,
    chunk_leaves: Sequence[bytes],
    chunk_index: int,
    roster_leaves: Sequence[bytes],
    roster_index: int,
) -> dict[str, Any]:
    """A proof that holds, as JSON values; it is checked before it is returned.

    Args:
        note: the signed note.
        verifier: the verifier line of the key that signed it.
        chunk_leaves: the leaves of all chunks, in order.
        chunk_index: which of them is the subject's.
        roster_leaves: the leaves of all subjects of that chunk, in order.
        roster_index: which of them is the subject.

    Raises:
        CheckpointError: what does not fit together.
    """
    entry = _step(roster_leaves, roster_index)
    subject = RosterEntry.parse(roster_leaves[roster_index])
    proof = {
        "schema": PROOF_SCHEMA,
        "candidate_id": subject.candidate_id,
        "seq": subject.seq,
        "mac": subject.mac,
        "note": note,
        "verifier": verifier,
        "chunk": _step(chunk_leaves, chunk_index),
        "entry": entry,
    }
    check_proof(proof, verifier)
    return proof


def check_proof(proof: object, verifier: str) -> RosterEntry:
    """The entry that a proof proves: the owner of this key signed a checkpoint that holds it.

    1. The note is signed by the verifier's key, and is of the log that the key is named after.
    2. The chunk's leaf is under the note's root.
    3. The entry is under the roster's root in the chunk's leaf.
    4. The id, seq and MAC that the proof states are the entry's.

    Args:
        proof: parsed JSON, from anyone.
        verifier: the verifier line, from somebody who is trusted; the one in the proof must equal it.

    Raises:
        CheckpointError: what does not hold.
    """
    name, public = parse_verifier_line(verifier)
    given = _parts(proof, "the proof", _FIELDS)
    if given["schema"] != PROOF_SCHEMA:
        raise CheckpointError(f"the proof's schema is not {PROOF_SCHEMA}")
    if given["verifier"] != verifier:
        raise CheckpointError("the proof names another key than the one that it is checked with")

    note = CheckpointNote.parse(open_note(_text(given["note"], "the proof's note"), name, public))
    if origin(note.log_id) != name:
        raise CheckpointError(f"the note is of {origin(note.log_id)}, but the key is named {name}")

    chunk, chunk_root = _climb(given["chunk"], "the chunk's leaf")
    if chunk_root != note.root:
        raise CheckpointError("the chunk's leaf is not under the note's root")

    entry, roster_root = _climb(given["entry"], "the entry")
    if roster_root != ChunkLeaf.parse(chunk).roster_root:
        raise CheckpointError("the entry is not under the chunk's roster root")

    subject = RosterEntry.parse(entry)
    for field in ("candidate_id", "seq", "mac"):
        stated, proven = given[field], getattr(subject, field)
        if type(stated) is not type(proven) or stated != proven:
            raise CheckpointError(f"the {field} that the proof states is not its entry's")
    return subject


def _step(leaves: Sequence[bytes], index: int) -> dict[str, Any]:
    path = inclusion_path(leaves, index)
    return {
        "leaf": leaves[index].decode(errors="replace"),
        "index": index,
        "size": len(leaves),
        "path": [sibling.hex() for sibling in path],
    }


def _climb(step: object, what: str) -> tuple[bytes, str]:
    """The leaf of a step, and the root (64 hex digits) that its path leads to."""
    parts = _parts(step, what, _STEP_FIELDS)
    index, size, path = parts["index"], parts["size"], parts["path"]
    if type(index) is not int or type(size) is not int or max(abs(index), abs(size)) > _MAX_SIZE:
        raise CheckpointError(f"{what}: index and size must be whole numbers, and no larger than a tree can be")
    if not isinstance(path, list) or not all(isinstance(sibling, str) and _is_hash(sibling) for sibling in path):
        raise CheckpointError(f"{what}: the path must be a list of hashes, 64 lowercase hex digits each")
    leaf = _text(parts["leaf"], what).encode()
    return leaf, root_of_path(leaf, index, size, [bytes.fromhex(sibling) for sibling in path]).hex()


def _parts(value: object, what: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        raise CheckpointError(f"{what} must be a JSON object with exactly {', '.join(sorted(names))}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise CheckpointError(f"{what} must be text")
    return value
