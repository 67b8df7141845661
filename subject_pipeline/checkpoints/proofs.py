"""Proofs for anyone who has neither the store nor a secret key: what a signed checkpoint says of one subject.

`head`: the subject's entry. `history`: the entry, and every row of its chain up to the one that it names. `absence`:
the two neighbours between which it would be, or that there are none. All say it as of one checkpoint, by the signer's
word that rosters are sorted and unique. Index and size lead along each path; the size of every tree is signed: in the
note, in `checkpoint.json`, in the chunk's leaf.

It is longer than other files because what is made and what is checked stand together, so that they cannot drift apart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from subject_pipeline.audit.row_form import row_of
from subject_pipeline.checkpoints.fields import is_count
from subject_pipeline.checkpoints.leaves import ChunkLeaf
from subject_pipeline.checkpoints.rosters import Roster, RosterEntry, id_sha256, parse_roster_leaf
from subject_pipeline.checkpoints.signed_notes import open_note, parse_verifier_line
from subject_pipeline.checkpoints.statement import NEVER, Statement
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.tree.merkle import inclusion_path, path_in_hashes, root_of_path
from subject_pipeline.errors import CheckpointError
from subject_pipeline.formats.leaves import NO_HASH, leaf_hash
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

PROOF_SCHEMA = "subject_proof.v2"
HEAD, HISTORY, ABSENCE = "head", "history", "absence"

_COMMON = {"schema", "kind", "candidate_id", "note", "checkpoint", "checkpoint_path", "chunk"}
_PARTS = {HEAD: {"entry"}, HISTORY: {"entry", "rows"}, ABSENCE: {"before", "after"}}
_MAX_PATH = 64
_is_hash = re.compile(r"[0-9a-f]{64}").fullmatch


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof proves.

    Attributes:
        statement: of the checkpoint.
        state_of: the number of the checkpoint whose state of the chunk it is: an earlier one where it is carried.
        entry: the subject's; None: no subject of that id is in the state.
    """

    statement: Statement
    state_of: int
    entry: RosterEntry | None


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint and one of its chunks, from which proofs are made.

    Attributes:
        note: the signed note.
        statement: what the checkpoint states.
        hashes: the leaf hashes of all checkpoints up to it.
        leaves: of all chunks, in order.
        roster: the chunk's.
    """

    note: str
    statement: Statement
    hashes: Sequence[bytes]
    leaves: Sequence[ChunkLeaf]
    roster: Roster

    def proof(
        self, candidate_id: str, kind: str, verifier: str, rows: Sequence[bytes] = ()
    ) -> tuple[dict[str, Any], Proven]:
        """A proof as JSON values, and what it proves: it is checked before it is returned.

        Args:
            candidate_id: whose.
            kind: `head`, `history` or `absence`.
            verifier: the line of a key that signed the note.
            rows: for a history, the rows of the chain up to the anchored one, in order.

        Raises:
            CheckpointError: what does not fit together.
        """
        at = ChunkLayout(len(self.leaves)).index_of(storage_key(candidate_id))
        texts = [leaf.text() for leaf in self.leaves]
        found = id_sha256(self.statement.log_id, candidate_id)
        proof = {
            "schema": PROOF_SCHEMA,
            "kind": kind,
            "candidate_id": candidate_id,
            "note": self.note,
            "checkpoint": self.statement.text().decode(),
            "checkpoint_path": _hex(path_in_hashes(self.hashes, self.statement.number)),
            "chunk": {"leaf": texts[at].decode(), "path": _hex(inclusion_path(texts, at))},
            **(self._neighbours(found) if kind == ABSENCE else self._entry(found)),
        }
        if kind == HISTORY:
            proof["rows"] = [row.decode() for row in rows]
        return proof, check_proof(proof, verifier)

    def _entry(self, id_hash: str) -> dict[str, Any]:
        entry = self.roster.entries[id_hash]
        return {"entry": {**self._step(list(self.roster.entries).index(id_hash)), "text": entry.text().decode()}}

    def _neighbours(self, id_hash: str) -> dict[str, Any]:
        after = sum(other < id_hash for other in self.roster.entries)
        return {
            "before": self._step(after - 1) if after else None,
            "after": self._step(after) if after < len(self.roster.entries) else None,
        }

    def _step(self, index: int) -> dict[str, Any]:
        leaves = self.roster.leaves
        return {"leaf": leaves[index].decode(), "index": index, "path": _hex(inclusion_path(leaves, index))}


def check_proof(proof: object, verifier: str) -> Proven:
    """What a proof proves: the owner of this key signed a checkpoint that says so.

    1. The note is signed by the verifier's key, and is of the log that the key is named after.
    2. `checkpoint.json` is the last leaf of the tree that the note signs.
    3. The chunk is the one that the id falls into, and its leaf is in its place under the state root.
    4. The entry is the id's and in its place under the roster's root; or there is none where the id would be.
    5. Of a history, the rows are the id's whole chain, from its first to the one that the entry names.

    Args:
        proof: parsed JSON, from anyone.
        verifier: the verifier line, from somebody who is trusted.

    Raises:
        CheckpointError: what does not hold.
    """
    name, public = parse_verifier_line(verifier)
    kind = proof.get("kind") if isinstance(proof, dict) else None
    if not isinstance(kind, str) or kind not in _PARTS:
        raise CheckpointError(f"the proof's kind is none of {', '.join(_PARTS)}")
    given = _parts(proof, "the proof", _COMMON | _PARTS[kind])
    if given["schema"] != PROOF_SCHEMA:
        raise CheckpointError(f"the proof's schema is not {PROOF_SCHEMA}")

    head = TreeHead.parse(open_note(_text(given["note"], "the proof's note"), name, public))
    if origin(head.log_id) != name:
        raise CheckpointError(f"the note is of {origin(head.log_id)}, but the key is named {name}")

    text = _text(given["checkpoint"], "the checkpoint").encode()
    stated = Statement.parse(text)
    if (stated.number, stated.log_id) != (head.number, head.log_id):
        raise CheckpointError("the checkpoint is of another number or log than the note")
    if _climb(text, head.number, head.size, given["checkpoint_path"], "the checkpoint") != head.root:
        raise CheckpointError("the checkpoint is not under the note's root")

    candidate_id = _text(given["candidate_id"], "the candidate_id")
    leaf = _chunk_leaf(given["chunk"], stated, candidate_id)
    standing = stated.carried.get(leaf.chunk, stated.number)
    if standing == NEVER:
        raise CheckpointError("no state of this chunk was ever signed, so nothing is proven of it")

    wanted = id_sha256(stated.log_id, candidate_id)
    entry = None if kind == ABSENCE else _checked_entry(given["entry"], leaf, wanted)
    if entry is None:
        _check_absence(given["before"], given["after"], leaf, wanted)
    elif kind == HISTORY:
        _check_history(given["rows"], candidate_id, entry)
    return Proven(stated, standing, entry)


def _chunk_leaf(step: object, stated: Statement, candidate_id: str) -> ChunkLeaf:
    parts = _parts(step, "the chunk", {"leaf", "path"})
    text = _text(parts["leaf"], "the chunk's leaf").encode()
    leaf = ChunkLeaf.parse(text)
    layout = ChunkLayout(stated.chunks)
    index = layout.index_of(storage_key(candidate_id))
    if leaf.chunk != layout.name_of(index):
        raise CheckpointError(f"the chunk is {leaf.chunk}, but the id falls into {layout.name_of(index)}")
    if _climb(text, index, stated.chunks, parts["path"], "the chunk's leaf") != stated.state_root:
        raise CheckpointError("the chunk's leaf is not under the checkpoint's state root")
    return leaf


def _checked_entry(step: object, leaf: ChunkLeaf, wanted: str) -> RosterEntry:
    parts = _parts(step, "the entry", {"leaf", "index", "path", "text"})
    id_hash, entry_hash, _ = _member({name: parts[name] for name in ("leaf", "index", "path")}, leaf, "the entry")
    if id_hash != wanted:
        raise CheckpointError("the entry is another subject's")
    text = _text(parts["text"], "the entry's text").encode()
    if sha256(text).hexdigest() != entry_hash:
        raise CheckpointError("the entry's text is not the one in its leaf")
    return RosterEntry.parse(text)


def _check_history(rows: object, candidate_id: str, entry: RosterEntry) -> None:
    if not isinstance(rows, list) or len(rows) != entry.seq + 1:
        raise CheckpointError(f"the history is not a list of {entry.seq + 1:,} rows")
    before = NO_HASH
    for seq, text in enumerate(rows):
        inner = _text(text, f"row {seq}").encode()
        row = row_of(inner)
        if row is None:
            raise CheckpointError(f"row {seq} of the history is not a row as rows are written")
        if (row["candidate_id"], row["seq"], row["prev"]) != (candidate_id, seq, before):
            raise CheckpointError(f"row {seq} of the history is another subject's, or does not follow")
        before = leaf_hash(inner).hex()
    if before != entry.row_sha256:
        raise CheckpointError("the history does not end in the row that the entry names")


def _check_absence(before: object, after: object, leaf: ChunkLeaf, wanted: str) -> None:
    first, last = 0, leaf.subjects
    if before is not None:
        id_hash, _, index = _member(before, leaf, "the subject before")
        if not id_hash < wanted:
            raise CheckpointError("the subject before does not come before the id")
        first = index + 1
    if after is not None:
        id_hash, _, last = _member(after, leaf, "the subject after")
        if not wanted < id_hash:
            raise CheckpointError("the subject after does not come after the id")
    if first != last:
        raise CheckpointError("the subjects before and after are not neighbours, so one may be between them")


def _member(step: object, leaf: ChunkLeaf, what: str) -> tuple[str, str, int]:
    """The hashes of id and entry, and the index, of a step that leads to the roster's root."""
    parts = _parts(step, what, {"leaf", "index", "path"})
    text = _text(parts["leaf"], f"{what}'s leaf").encode()
    index = parts["index"]
    if not is_count(index):
        raise CheckpointError(f"{what}: the index must be a whole number")
    if _climb(text, index, leaf.subjects, parts["path"], what) != leaf.roster_root:
        raise CheckpointError(f"{what} is not under the chunk's roster root")
    return *parse_roster_leaf(text), index


def _climb(leaf: bytes, index: int, size: int, path: object, what: str) -> str:
    """The root, 64 hex digits, that a leaf and its path make."""
    if not isinstance(path, list) or len(path) > _MAX_PATH:
        raise CheckpointError(f"{what}: the path must be a list of at most {_MAX_PATH} hashes")
    if not all(isinstance(sibling, str) and _is_hash(sibling) for sibling in path):
        raise CheckpointError(f"{what}: the path must be a list of hashes, 64 lower-case hex digits each")
    return root_of_path(leaf, index, size, [bytes.fromhex(sibling) for sibling in path]).hex()


def _hex(path: Sequence[bytes]) -> list[str]:
    return [sibling.hex() for sibling in path]


def _parts(value: object, what: str, names: set[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != names:
        raise CheckpointError(f"{what} must be a JSON object with exactly {', '.join(sorted(names))}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise CheckpointError(f"{what} must be text")
    return value
