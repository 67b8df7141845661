"""A checkpoint by hand, to prove subjects of, proofs out of it, and how those can be tampered with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from subject_pipeline.checkpoints.leaves import ChunkLeaf, files_hash, state_root
from subject_pipeline.checkpoints.proofs import ABSENCE, HEAD, HISTORY, Signed
from subject_pipeline.checkpoints.rosters import Roster, RosterEntry, id_sha256
from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line
from subject_pipeline.checkpoints.statement import Statement
from subject_pipeline.checkpoints.tree.head import TreeHead, origin
from subject_pipeline.checkpoints.tree.merkle import root_of_hashes
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.leaves import NO_HASH, leaf_hash
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

LOG_ID, SEED = "0123456789abcdef" * 2, bytes(range(32))
LAYOUT = ChunkLayout(5)
NUMBER = 6
CARRIED, NEVER = LAYOUT.names[3], LAYOUT.names[4]


def digest(text: str) -> str:
    """64 hex digits that depend on nothing but a text."""
    return sha256(text.encode()).hexdigest()


def verifier_of(seed: bytes, name: str = origin(LOG_ID)) -> str:
    """The verifier line of a private key."""
    return verifier_line(name, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def chunk_of(candidate_id: str) -> str:
    """The chunk that an id falls into."""
    return LAYOUT.chunk_of(storage_key(candidate_id))


@cache
def ids(chunk: str) -> list[str]:
    """A hundred ids of a chunk, one of them in letters that storage keys do not have."""
    found = (f"CAND/{number}/Žofie \U0001f600" for number in range(10_000))
    return [one for one in found if chunk_of(one) == chunk][:100]


STATES = ("present", "absent", "deleted", "erased", "no chain")


def entry_of(candidate_id: str, number: int) -> RosterEntry:
    """An entry of each state in turn."""
    state, blind = STATES[number % len(STATES)], "A" * 20 + f"{number % 10}A"
    if state == "no chain":
        return RosterEntry(blind, -1, "0" * 64, digest(f"manifest {candidate_id}"), "present")
    manifest = digest(f"manifest {candidate_id}") if state == "present" else ""
    return RosterEntry(blind, number, digest(f"row {candidate_id}"), manifest, state)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Chunks of subjects, by candidate id, with the checkpoint and the note over them."""

    subjects: Mapping[str, RosterEntry]
    carried: Mapping[str, int] = field(default_factory=lambda: {CARRIED: 2, NEVER: -1})

    def roster(self, chunk: str) -> Roster:
        """A chunk's."""
        return Roster.of(
            {id_sha256(LOG_ID, one): entry for one, entry in self.subjects.items() if chunk_of(one) == chunk}
        )

    @cached_property
    def leaves(self) -> list[ChunkLeaf]:
        """The leaf of every chunk."""
        made = []
        for chunk in LAYOUT.names:
            roster = self.roster(chunk)
            made.append(
                ChunkLeaf(chunk, len(roster.entries), roster.root, 3, *(digest("segment"), files_hash([]), digest("f")))
            )
        return made

    @cached_property
    def statement(self) -> Statement:
        """What it states."""
        return Statement(
            *(LOG_ID, NUMBER, "2026-06-30T12:00:00.000000Z", LAYOUT.count, state_root(self.leaves)),
            signers=[verifier_of(SEED)],
            carried=self.carried,
            retired_keys={"00ff00ff00ff00ff": 3},
        )

    @cached_property
    def hashes(self) -> list[bytes]:
        """The tree's leaf hashes."""
        return [*(leaf_hash(b"checkpoint %d" % number) for number in range(NUMBER)), leaf_hash(self.statement.text())]

    def note(self, seed: bytes = SEED, *, name: str = origin(LOG_ID), **changes: Any) -> str:
        """The note, signed."""
        head = TreeHead(LOG_ID, NUMBER + 1, root_of_hashes(self.hashes).hex())
        return sign_note(replace(head, **changes).text(), name, seed)

    def signed(self, chunk: str, note: str | None = None) -> Signed:
        """What proofs about a chunk are made of."""
        return Signed(note or self.note(), self.statement, self.hashes, self.leaves, self.roster(chunk))

    def proof(self, candidate_id: str, kind: str = HEAD) -> dict[str, Any]:
        """The proof of one subject, as it is read from a file."""
        made, _ = self.signed(chunk_of(candidate_id)).proof(candidate_id, kind, VERIFIER)
        found: dict[str, Any] = json.loads(json.dumps(made))
        return found


def checkpoint_of(*sizes: int) -> Checkpoint:
    """Chunks of so many subjects each."""
    return Checkpoint(
        {
            one: entry_of(one, number)
            for chunk, size in zip(LAYOUT.names, sizes, strict=False)
            for number, one in enumerate(ids(chunk)[:size])
        }
    )


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something stands that is neither object nor list."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in places(item, (*place, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in places(item, (*place, index))]
    return [place]


VERIFIER = verifier_of(SEED)
CHECKPOINT = checkpoint_of(9, 0, 1, 4, 0)
CHUNK, EMPTY, SINGLE = LAYOUT.names[:3]
SUBJECT = ids(CHUNK)[0]
PROOF = CHECKPOINT.proof(SUBJECT)
_SORTED = list(CHECKPOINT.roster(CHUNK).entries)


def _between(*, first: bool = False, last: bool = False) -> str:
    strangers = ids(CHUNK)[9:]
    for one in strangers:
        after = sum(other < id_sha256(LOG_ID, one) for other in _SORTED)
        if (after == 0, after == len(_SORTED)) == (first, last):
            return one
    raise AssertionError("nobody is there")


BETWEEN, BEFORE_ALL, AFTER_ALL = _between(), _between(first=True), _between(last=True)
NOBODY = ids(EMPTY)[0]
ABSENT = CHECKPOINT.proof(BETWEEN, ABSENCE)
ABSENT_AT_THE_END = CHECKPOINT.proof(AFTER_ALL, ABSENCE)
OTHER = CHECKPOINT.proof(ids(CHUNK)[1])
SINGLES = CHECKPOINT.proof(ids(SINGLE)[0])
RENAMED = "subject-pipeline/" + "f" * 32
Tampering = Callable[[dict[str, Any]], object]


def _in(step: str, name: str, value: Any) -> Tampering:
    return lambda proof: proof[step].__setitem__(name, value)


def _set(name: str, value: Any) -> Tampering:
    return lambda proof: proof.__setitem__(name, value)


def _put(old: str, new: str, *at: str) -> Tampering:
    def change(proof: dict[str, Any]) -> None:
        target = proof
        for name in at[:-1]:
            target = target[name]
        assert old in target[at[-1]]
        target[at[-1]] = target[at[-1]].replace(old, new, 1)

    return change


def _without(name: str) -> Tampering:
    return lambda proof: proof.pop(name)


def _owner_of(step: dict[str, Any]) -> str:
    """Whose leaf a neighbour's is."""
    return next(one for one in CHECKPOINT.subjects if id_sha256(LOG_ID, one) in step["leaf"])


TAMPERINGS: dict[str, tuple[Tampering, str]] = {  # with words of the error
    "another schema": (_set("schema", "subject_proof.v1"), "schema"),
    "another kind": (_set("kind", "absence"), "exactly"),
    "an unknown kind": (_set("kind", "future"), "kind"),
    "a history without rows": (_set("kind", "history"), "exactly"),
    "a kind that is a list": (_set("kind", ["head"]), "kind"),
    "another id of the chunk": (_set("candidate_id", ids(CHUNK)[1]), "another subject's"),
    "an id of another chunk": (_set("candidate_id", NOBODY), "the id falls into"),
    "an id that is no text": (_set("candidate_id", 5), "must be text"),
    "half a character": (_set("candidate_id", "\ud800"), "must be text"),
    "something more": (_set("extra", 1), "exactly"),
    "a key to trust": (_set("verifier", VERIFIER), "exactly"),
    "no checkpoint": (_without("checkpoint"), "exactly"),
    "another entry's step": (_set("entry", OTHER["entry"]), "another subject's"),
    "another entry's text": (_in("entry", "text", OTHER["entry"]["text"]), "not the one in its leaf"),
    "another entry's leaf": (_in("entry", "leaf", OTHER["entry"]["leaf"]), "not under the chunk's roster root"),
    "another chunk's step": (_set("chunk", SINGLES["chunk"]), "the id falls into"),
    "a forged entry": (_put('"seq":0', '"seq":1', "entry", "text"), "not the one in its leaf"),
    "an entry with a space": (_put(":", ": ", "entry", "text"), "not the one in its leaf"),
    "a leaf with a space": (_put(":", ": ", "entry", "leaf"), "not under"),
    "a forged chunk": (_put('"segment":3', '"segment":4', "chunk", "leaf"), "not under the checkpoint's state root"),
    "more subjects": (_put('"subjects":9', '"subjects":10', "chunk", "leaf"), "not under the checkpoint's state root"),
    "a chunk with a space": (_put(":", ": ", "chunk", "leaf"), "canonical"),
    "a forged checkpoint": (_put('"number":6', '"number":5', "checkpoint"), "another number"),
    "a state that is not carried": (
        _put(f'"{CARRIED}":2', f'"{CARRIED}":3', "checkpoint"),
        "not under the note's root",
    ),
    "a checkpoint with a space": (_put(":", ": ", "checkpoint"), "canonical"),
    "a checkpoint that is no text": (_set("checkpoint", {}), "must be text"),
    "another index": (_in("entry", "index", 7), "not under"),
    "an index outside": (_in("entry", "index", 9), "no leaf"),
    "a negative index": (_in("entry", "index", -1), "whole number"),
    "an index that is true": (_in("entry", "index", value=True), "whole number"),
    "an index that is null": (_in("entry", "index", None), "whole number"),
    "an index that is a float": (_in("entry", "index", float(PROOF["entry"]["index"])), "whole number"),
    "an index beyond any tree": (_in("entry", "index", 10**400), "whole number"),
    "a size stated": (_in("entry", "size", 9), "exactly"),
    "a shorter path": (lambda proof: proof["entry"]["path"].pop(), "too short"),
    "a longer path": (lambda proof: proof["entry"]["path"].append("0" * 64), "too long"),
    "a longer path of the chunk": (lambda proof: proof["chunk"]["path"].append("0" * 64), "too long"),
    "a longer path of the checkpoint": (lambda proof: proof["checkpoint_path"].append("0" * 64), "too long"),
    "an endless path": (_in("entry", "path", ["0" * 64] * 1000), "at most 64"),
    "a path in capitals": (lambda proof: proof["entry"].update(path=[h.upper() for h in PROOF["entry"]["path"]]), "64"),
    "a path that is text": (_in("chunk", "path", "ab"), "list of at most"),
    "a path of numbers": (_in("chunk", "path", [1, 2]), "list of hashes"),
    "a path turned round": (lambda proof: proof["entry"]["path"].reverse(), "not under"),
    "a checkpoint's path turned round": (lambda proof: proof["checkpoint_path"].reverse(), "not under the note's root"),
    "a leaf that is no text": (_in("entry", "leaf", {}), "must be text"),
    "a leaf with a lone surrogate": (_in("entry", "leaf", "\ud800"), "must be text"),
    "a step that is a list": (_set("entry", []), "exactly"),
    "a note that is no text": (_set("note", None), "must be text"),
    "a note of another key": (_set("note", CHECKPOINT.note(bytes(32))), "is not signed by the key"),
    "a note of another checkpoint": (_set("note", checkpoint_of(1, 1).note()), "not under the note's root"),
    "a note of another number": (_set("note", CHECKPOINT.note(size=NUMBER)), "another number"),
    "a note of another log": (_set("note", CHECKPOINT.note(log_id="f" * 32)), "the note is of"),
    "a note with another size": (_put("\n7\n", "\n8\n", "note"), "signature"),
    "a note with an extension": (
        _set("note", sign_note(CHECKPOINT.note().partition("\n\n")[0] + "\nextension\n", origin(LOG_ID), SEED)),
        "origin, tree size and root",
    ),
}
ABSENCE_TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "somebody who is there": (_set("candidate_id", SUBJECT), "does not come|not neighbours"),
    "the one before": (lambda proof: proof.update(candidate_id=_owner_of(proof["before"])), "does not come before"),
    "the one after": (lambda proof: proof.update(candidate_id=_owner_of(proof["after"])), "does not come after"),
    "a first half of a pair": (_in("before", "leaf", "\ud800"), "must be text"),
    "a second half of a pair": (_in("after", "leaf", "\udfff"), "must be text"),
    "another between others": (_set("candidate_id", BEFORE_ALL), "does not come"),
    "nobody before": (_set("before", None), "not neighbours"),
    "nobody after": (_set("after", None), "not neighbours"),
    "nobody at all": (lambda proof: proof.update(before=None, after=None), "not neighbours"),
    "the same twice": (lambda proof: proof.update(after=proof["before"]), "does not come after"),
    "a neighbour left out": (lambda proof: proof.update(after=ABSENT_AT_THE_END["before"]), "not neighbours"),
    "an entry shown": (_set("entry", PROOF["entry"]), "exactly"),
    "a text shown": (_in("before", "text", PROOF["entry"]["text"]), "exactly"),
    "an index moved": (lambda proof: proof["before"].update(index=proof["before"]["index"] - 1), "not under"),
    "a neighbour that is text": (_set("before", "x"), "exactly"),
    "a neighbour that is false": (_set("before", value=False), "exactly"),
    "a neighbour that is nothing": (_set("before", {}), "exactly"),
    "a chunk that was never signed": (_set("candidate_id", ids(NEVER)[0]), "falls into"),
}


def chain_of(candidate_id: str, length: int) -> list[bytes]:
    """A chain's rows, their texts linked as they are in a log."""
    rows: list[bytes] = []
    for seq in range(length):
        before = leaf_hash(rows[-1]).hex() if rows else NO_HASH
        row = {"schema": "subject_audit.v2", "candidate_id": candidate_id, "seq": seq, "prev": before}
        row |= {
            "ts": "2026-06-30T12:00:00.000000Z",
            "actor": "Zoë \u2028\U0001f600",
            "action": "view",
            "result": "success",
        }
        row |= {"event_id": f"e-{seq}", "key_id": "0" * 16, "nonce": "A" * 22}
        rows.append(canonical_json(row))
    return rows


def history_of(candidate_id: str, length: int) -> dict[str, Any]:
    """The proof of a whole history: of somebody who has so many rows, among others of the chunk."""
    rows = chain_of(candidate_id, length)
    end = leaf_hash(rows[-1]).hex() if rows else NO_HASH
    entry = RosterEntry("A" * 22, length - 1, end, digest("manifest"), "present")
    checkpoint = Checkpoint({**CHECKPOINT.subjects, candidate_id: entry})
    made, _ = checkpoint.signed(chunk_of(candidate_id)).proof(candidate_id, HISTORY, VERIFIER, rows)
    found: dict[str, Any] = json.loads(json.dumps(made))
    return found


HISTORY_PROOF = history_of(SUBJECT, 4)
HISTORY_OF_NONE = history_of(SUBJECT, 0)


def _rows(change: Callable[[list[str]], object]) -> Tampering:
    return lambda proof: change(proof["rows"])


def _swap(rows: list[str]) -> None:
    rows[1], rows[2] = rows[2], rows[1]


def _put_in_row(number: int, old: str, new: str) -> Tampering:
    def change(proof: dict[str, Any]) -> None:
        assert old in proof["rows"][number]
        proof["rows"][number] = proof["rows"][number].replace(old, new, 1)

    return change


HISTORY_TAMPERINGS: dict[str, tuple[Tampering, str]] = {
    "the first row left out": (_rows(lambda rows: rows.pop(0)), "not a list of 4 rows"),
    "a row left out": (_rows(lambda rows: rows.pop(1)), "not a list of 4 rows"),
    "the last row left out": (_rows(lambda rows: rows.pop()), "not a list of 4 rows"),
    "a row doubled": (_rows(lambda rows: rows.insert(1, rows[1])), "not a list of 4 rows"),
    "a row in place of another": (_rows(lambda rows: rows.__setitem__(2, rows[1])), "does not follow"),
    "rows swapped": (_rows(_swap), "does not follow"),
    "rows turned round": (_rows(lambda rows: rows.reverse()), "does not follow"),
    "one too many": (_rows(lambda rows: rows.append(chain_of(SUBJECT, 5)[4].decode())), "not a list of 4 rows"),
    "a row of another subject": (
        _rows(lambda rows: rows.__setitem__(1, chain_of(ids(CHUNK)[1], 2)[1].decode())),
        "another subject's",
    ),
    "another subject's whole history": (
        _rows(lambda rows: rows.__setitem__(slice(None), [one.decode() for one in chain_of(ids(CHUNK)[1], 4)])),
        "another subject's",
    ),
    "a row changed": (_put_in_row(1, "view", "read"), "does not follow"),
    "the last row changed": (_put_in_row(3, "view", "read"), "does not end"),
    "a row that is not canonical": (_put_in_row(1, ":", ": "), "not a row"),
    "a row with one field more": (_put_in_row(1, '{"action"', '{"a":1,"action"'), "not a row"),
    "a row that is no text": (_rows(lambda rows: rows.__setitem__(0, 1)), "must be text"),  # type: ignore[call-overload]
    "a row with half a character": (_put_in_row(0, "Zo", "\ud800"), "must be text"),
    "rows that are none": (_set("rows", None), "not a list"),
    "rows that are text": (_set("rows", "abcd"), "not a list"),
    "rows that are an object": (_set("rows", {str(at): "" for at in range(4)}), "not a list"),
    "no rows at all": (_set("rows", []), "not a list of 4 rows"),
    "a history that is called a head": (_set("kind", "head"), "exactly"),
    "another entry": (_set("entry", OTHER["entry"]), "not under|another subject's"),
}
"""Of `HISTORY_PROOF`."""
