"""A checkpoint by hand, to prove subjects of, a proof out of it, and how that can be tampered with."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from subject_pipeline.checkpoints.checkpoint import NO_HASH, CheckpointNote, ChunkLeaf, RosterEntry, origin
from subject_pipeline.checkpoints.merkle import root
from subject_pipeline.checkpoints.proofs import build_proof
from subject_pipeline.checkpoints.signed_notes import sign_note, verifier_line

LOG_ID, SEED = "0123456789abcdef" * 2, bytes(range(32))


def digest(text: str) -> str:
    """64 hex digits that depend on nothing but a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def verifier_of(seed: bytes, name: str = origin(LOG_ID)) -> str:
    """The verifier line of a private key."""
    return verifier_line(name, Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


@dataclass(frozen=True)
class Checkpoint:
    """Chunks of subjects, with the note over them."""

    rosters: list[list[RosterEntry]]

    @property
    def chunk_leaves(self) -> list[bytes]:
        """The leaf of every chunk."""
        return [
            ChunkLeaf(
                f"chunk-{index:x}", root(self.roster_leaves(index)).hex(), 3, digest("segment"), NO_HASH, NO_HASH
            ).leaf()
            for index in range(len(self.rosters))
        ]

    def roster_leaves(self, chunk: int) -> list[bytes]:
        """The leaf of every subject of a chunk."""
        return [entry.leaf() for entry in self.rosters[chunk]]

    def note(self, seed: bytes = SEED, *, name: str = origin(LOG_ID)) -> str:
        """The note, signed."""
        number = CheckpointNote(
            LOG_ID, 5, root(self.chunk_leaves).hex(), "2026-06-30T12:00:00.000000Z", digest("previous")
        )
        return sign_note(number.text(), name, seed)

    def proof(self, chunk: int, subject: int) -> dict[str, Any]:
        """The proof of one subject."""
        return build_proof(self.note(), verifier_of(SEED), self.chunk_leaves, chunk, self.roster_leaves(chunk), subject)


def checkpoint_of(*sizes: int) -> Checkpoint:
    """Chunks of so many subjects each; every third subject has no chain, every fourth no manifest."""
    return Checkpoint(
        [
            [
                RosterEntry(
                    f"CAND/{chunk}/{index}",
                    f"CAND_{chunk}_{index}",
                    index if index % 3 != 2 else -1,
                    digest(f"mac {chunk} {index}") if index % 3 != 2 else NO_HASH,
                    digest("manifest") if index % 4 != 3 else "",
                )
                for index in range(size)
            ]
            for chunk, size in enumerate(sizes)
        ]
    )


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a JSON value something stands that is neither object nor list."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in places(item, (*place, key))]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in places(item, (*place, index))]
    return [place]


CHECKPOINT = checkpoint_of(5, 1, 9, 4)
VERIFIER = verifier_of(SEED)
PROOF = CHECKPOINT.proof(2, 4)
Tampering = Callable[[dict[str, Any]], object]


def _in(step: str, name: str, value: Any) -> Tampering:
    return lambda proof: proof[step].__setitem__(name, value)


def _set(name: str, value: Any) -> Tampering:
    return lambda proof: proof.__setitem__(name, value)


def _forged_leaf(step: str, old: str, new: str) -> Tampering:
    return lambda proof: proof[step].__setitem__("leaf", proof[step]["leaf"].replace(old, new))


OTHER_CHUNK, OTHER_ENTRY = CHECKPOINT.proof(0, 4), CHECKPOINT.proof(2, 5)
RENAMED = "subject-pipeline/" + "f" * 32
TAMPERINGS: dict[str, tuple[Tampering, str]] = {  # with words of the error
    "another schema": (_set("schema", "subject_proof.v2"), "schema"),
    "another id stated": (_set("candidate_id", "CAND/2/5"), "candidate_id that the proof states"),
    "another seq stated": (_set("seq", 5), "seq that the proof states"),
    "a seq stated as a float": (_set("seq", 4.0), "seq that the proof states"),
    "a seq stated as text": (_set("seq", "4"), "seq that the proof states"),
    "another MAC stated": (_set("mac", digest("else")), "mac that the proof states"),
    "no MAC stated": (lambda proof: proof.pop("mac"), "exactly"),
    "something more stated": (_set("extra", 1), "exactly"),
    "another entry's step": (_set("entry", OTHER_ENTRY["entry"]), "that the proof states"),
    "another chunk's step": (_set("chunk", OTHER_CHUNK["chunk"]), "not under the chunk's roster root"),
    "a forged entry": (_forged_leaf("entry", '"seq":4', '"seq":3'), "not under the chunk's roster root"),
    "a forged chunk": (_forged_leaf("chunk", '"segment":3', '"segment":4'), "not under the note's root"),
    "steps swapped": (
        lambda proof: proof.update(chunk=proof["entry"], entry=proof["chunk"]),
        "not under the note's root",
    ),
    "another index": (_in("entry", "index", 5), "not under"),
    "an index outside": (_in("entry", "index", 9), "no leaf"),
    "a negative index": (_in("entry", "index", -1), "no leaf"),
    "an index that is true": (_in("entry", "index", value=True), "whole numbers"),
    "an index that is null": (_in("entry", "index", None), "whole numbers"),
    "a size beyond any tree": (_in("entry", "size", 10**4000), "whole numbers"),
    "a size of more levels": (_in("entry", "size", 900), "too short"),
    "a shorter path": (lambda proof: proof["entry"]["path"].pop(), "too short"),
    "a longer path": (lambda proof: proof["entry"]["path"].append("0" * 64), "too long"),
    "a path in capitals": (lambda proof: proof["entry"].update(path=[h.upper() for h in PROOF["entry"]["path"]]), "64"),
    "a path that is text": (_in("chunk", "path", "ab"), "list of hashes"),
    "a path of numbers": (_in("chunk", "path", [1, 2]), "list of hashes"),
    "a path turned round": (lambda proof: proof["entry"]["path"].reverse(), "not under"),
    "a leaf that is no text": (_in("entry", "leaf", {}), "must be text"),
    "a leaf with a lone surrogate": (_in("entry", "leaf", "\ud800"), "must be text"),
    "a step that is a list": (_set("entry", []), "exactly"),
    "a note that is no text": (_set("note", None), "must be text"),
    "a note of another key": (_set("note", CHECKPOINT.note(bytes(32))), "is not signed by the key"),
    "a note of another checkpoint": (_set("note", checkpoint_of(1, 1).note()), "not under the note's root"),
    "a note with another number": (_set("note", PROOF["note"].replace("\n5\n", "\n6\n")), "signature"),
    "another verifier stated": (_set("verifier", verifier_of(bytes(32))), "names another key"),
}
