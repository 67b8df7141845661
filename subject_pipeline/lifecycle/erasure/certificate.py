"""A certificate: signed evidence that a person was erased. Pure: its one form, made and read; it names nobody.

A line is canonical JSON of `certificate` and `signature`. Signed is a text that no checkpoint's note can be: the log's
origin with `/erasure`, then the certificate's canonical JSON, one a line; the signature is as in a signed note's line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from subject_pipeline.checkpoints.fields import hold, hold_text, is_count, is_hash, object_of
from subject_pipeline.checkpoints.signed_notes import opened_by, parse_verifier_line, sign_note
from subject_pipeline.checkpoints.tree.head import is_log_id, origin
from subject_pipeline.errors import CanonicalJsonError, CheckpointError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.formats.times import is_moment
from subject_pipeline.keys.macs import KeyLookup, Mac

SCHEMA = "subject_erasure.v1"
ID_DOMAIN = b"subject-erasure-id/v1"
ERASURE_DOMAIN = b"subject-erasure/v1"
UNREACHABLE = ("sources", "exports", "backups")
"""What a store cannot look into: where datasets come from, files that were written elsewhere, copies of the store."""

MAX_REMAINING = 2_000
"""So many remaining objects are named; all are counted."""

_WHAT = "a certificate"
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "id_mac": ("key_id", "mac"),
    "row": ("chunk", "seq", "sha256"),
    "erased": ("at", "by"),
    "holds": ("looked_for_at", "released", "standing"),
    "table": ("files_removed", "version_after", "version_before"),
    "looked": ("at", "objects"),
    "checkpoint": ("number", "root"),
}
"""The fields that are objects, and theirs."""

_ORDERED = ("approved_by", "at", "by")
_NAMES = (
    *("schema", "log_id", "erasure_mac", "ordered", "remaining", "remaining_objects", "staged_parts_rewritten"),
    *("unreachable", *_FIELDS),
)
_is_key_id = re.compile(r"[0-9a-f]{16}").fullmatch
_is_chunk = re.compile(r"chunk-[0-9a-f]{1,5}").fullmatch


def id_mac(key: bytes, candidate_id: str) -> str:
    """What a certificate names a person by: who has neither the key nor the id learns nothing from it."""
    return Mac(key, ID_DOMAIN).hex(candidate_id.encode())


def erasure_mac(key: bytes, digest: bytes, seq: int) -> str:
    """What a certificate names an erasure by, so that the audit index, which knows no ids, finds those it covers.

    Args:
        key: of the ring.
        digest: the subject's, as the index has it.
        seq: of the row of the erasure.
    """
    return Mac(key, ERASURE_DOMAIN).hex(digest + seq.to_bytes(8))


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate and its signature; made by `signed` or `parse`.

    Attributes:
        document: what it says.
        signature: base64 of the key's id, 4 bytes, and the signature, 64.
    """

    document: Mapping[str, Any]
    signature: str

    @classmethod
    def signed(cls, document: Mapping[str, Any], seed: bytes) -> "Certificate":
        """The certificate of a document, signed with an Ed25519 private key.

        Raises:
            CheckpointError: not a document that `parse` would take.
        """
        note = sign_note(_text(document), origin(document["log_id"]), seed)
        made = cls(document, note.rstrip("\n").rpartition(" ")[2])
        return cls.parse(made.line())

    @classmethod
    def parse(cls, line: bytes) -> "Certificate":
        """The certificate that has exactly this line; whose signature it is, `signed_by` says.

        Raises:
            CheckpointError: not a line that `line` would write.
        """
        found = object_of(line, _WHAT, ("certificate", "signature"))
        document, signature = found["certificate"], found["signature"]
        hold(_WHAT, "signature", type(signature) is str)
        hold(_WHAT, "certificate", isinstance(document, dict) and document.keys() == set(_NAMES))
        _check(document)
        certificate = cls(document, signature)
        try:
            hold_text(_WHAT, line, certificate.line())
        except CanonicalJsonError as error:
            raise CheckpointError(f"not {_WHAT}: {error}") from error
        return certificate

    def line(self) -> bytes:
        """It as it is stored, with its LF."""
        return canonical_row({"certificate": dict(self.document), "signature": self.signature}) + b"\n"

    def signed_by(self, lines: Iterable[str]) -> bool:
        """Whether a key of these verifier lines has signed it."""
        note = f"{_text(self.document)}\n\u2014 {origin(self.document['log_id'])} {self.signature}\n"
        try:
            opened_by(note, map(parse_verifier_line, lines))
        except CheckpointError:
            return False
        return True

    def names(self, candidate_id: str, keys: KeyLookup) -> bool:
        """Whether this is who it is about, as far as a ring has the key."""
        key = keys(self.document["id_mac"]["key_id"])
        return key is not None and id_mac(key, candidate_id) == self.document["id_mac"]["mac"]


def _text(document: Mapping[str, Any]) -> str:
    return f"{origin(document['log_id'])}/erasure\n{canonical_row(dict(document)).decode()}\n"


def _check(found: Mapping[str, Any]) -> None:
    """Refuse values that no certificate has."""
    for name, parts in _FIELDS.items():
        hold(_WHAT, name, isinstance(found[name], dict) and found[name].keys() == set(parts))
    hold(_WHAT, "schema", found["schema"] == SCHEMA)
    hold(_WHAT, "log_id", is_log_id(found["log_id"]))
    key_id, row, table = found["id_mac"]["key_id"], found["row"], found["table"]
    hold(_WHAT, "id_mac", type(key_id) is str and _is_key_id(key_id) is not None)
    hold(_WHAT, "row", type(row["chunk"]) is str and _is_chunk(row["chunk"]) is not None)
    hashes = (found["id_mac"]["mac"], found["erasure_mac"], row["sha256"], found["checkpoint"]["root"])
    hold(_WHAT, "hashes", all(map(is_hash, hashes)))
    counts = (
        *(row["seq"], found["holds"]["released"], found["holds"]["standing"], *table.values()),
        *(found["looked"]["objects"], found["checkpoint"]["number"], found["staged_parts_rewritten"]),
    )
    hold(_WHAT, "numbers", all(map(is_count, (*counts, found["remaining_objects"]))))
    ordered = found["ordered"]
    hold(_WHAT, "ordered", ordered is None or (isinstance(ordered, dict) and ordered.keys() == set(_ORDERED)))
    times = [found["erased"]["at"], found["holds"]["looked_for_at"], found["looked"]["at"]]
    names = [found["erased"]["by"]]
    if ordered is not None:
        times.append(ordered["at"])
        names += [ordered["by"], "" if ordered["approved_by"] is None else ordered["approved_by"] or None]
    hold(_WHAT, "times", all(map(is_moment, times)))
    hold(_WHAT, "names", all(type(name) is str for name in names))
    hold(_WHAT, "holds", found["holds"]["standing"] == 0)
    for name in ("remaining", "unreachable"):
        listed = found[name]
        hold(_WHAT, name, type(listed) is list and all(type(one) is str for one in listed))
        hold(_WHAT, name, listed == sorted(set(listed)) or name == "unreachable")
    hold(_WHAT, "remaining_objects", len(found["remaining"]) == min(found["remaining_objects"], MAX_REMAINING))
