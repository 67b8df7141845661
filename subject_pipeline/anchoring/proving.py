"""Proofs of what the latest checkpoint says of a subject."""

from dataclasses import dataclass
from typing import Any

from subject_pipeline.audit.reading import show
from subject_pipeline.checkpoints.proofs import ABSENCE, HEAD, HISTORY, Proven, Signed
from subject_pipeline.checkpoints.rosters import id_sha256
from subject_pipeline.errors import CheckpointError, UnknownSubjectError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.views import AuditedStore


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as JSON values, and what it proves."""

    proof: dict[str, Any]
    proven: Proven


def prove(store: SubjectStore, candidate_id: str, kind: str = HEAD) -> Proof:
    """A self-contained proof of a subject's head or history in the latest checkpoint, or that the subject is not in it.

    Raises:
        CheckpointError: there is no checkpoint, it does not hold, or the subject has an entry though absence was asked.
        UnknownSubjectError: the latest checkpoint does not know the subject whose head was asked.
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    audited = AuditedStore(store)
    audited.hold_layout()
    checkpoint = audited.checkpoints.latest(whole=False) if audited.layout else None
    if audited.layout is None or checkpoint is None:
        raise CheckpointError("there is no checkpoint yet: write one with `subject-pipeline audit checkpoint`")
    leaf = checkpoint.leaves[audited.layout.chunks.chunk_of(storage_key(candidate_id))]
    roster = audited.checkpoints.roster(leaf)
    here = f"checkpoint {checkpoint.number}"
    entry = roster.entries.get(id_sha256(audited.layout.log_id, candidate_id))
    if kind != ABSENCE and entry is None:
        raise UnknownSubjectError(
            f"{here} knows no subject {candidate_id!r}: if its rows are newer, write another with `subject-pipeline "
            "audit checkpoint`; with --absent you get a proof that it is not there"
        )
    if kind == ABSENCE and entry is not None:
        raise CheckpointError(f"{here} has an entry of {candidate_id!r}: a head proof shows the state")
    signed = Signed(checkpoint.note, checkpoint.statement, checkpoint.hashes, list(checkpoint.leaves.values()), roster)
    rows: list[bytes] = []
    if kind == HISTORY and entry is not None:
        lines = show(store, candidate_id)
        rows = [canonical_json(line["row"]) for line in lines if line["row"].get("seq", -1) <= entry.seq]
    signer = audited.checkpoints.trusted.signer_of(checkpoint.note)
    return Proof(*signed.proof(candidate_id, kind, signer, rows))
