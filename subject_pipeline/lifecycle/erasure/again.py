"""Erasing again, after a restore from a backup: whom certificates that were kept elsewhere name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.registry_rows import chain_rows
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.errors import CheckpointError, SourceError
from subject_pipeline.keys.macs import Macs
from subject_pipeline.lifecycle.erasure.certificate import ID_DOMAIN, Certificate
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore


def read_certificates(store: SubjectStore, paths: Sequence[Path]) -> list[Certificate]:
    """The certificates of some files, one a line, all of this store's log and signed by a key of the ring.

    Raises:
        SourceError: one cannot be read, or is none; a forged one must not erase anybody.
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    layout = store.layout()
    lines = TrustedKeys.of_ring(store.ring.ring(), layout.log_id).lines if layout else ()
    found = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise SourceError(f"cannot read certificates from {path}: {error.strerror}") from error
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            try:
                certificate = Certificate.parse(line)
            except CheckpointError as error:
                raise SourceError(f"cannot use line {number} of {path}: {error}") from error
            if not certificate.signed_by(lines):
                raise SourceError(f"cannot use line {number} of {path}: no key of this ring has signed it")
            if layout is None or certificate.document["log_id"] != layout.log_id:
                raise SourceError(f"cannot use line {number} of {path}: it is of another store's log")
            found.append(certificate)
    return found


def named(store: SubjectStore, certificates: Sequence[Certificate]) -> list[str]:
    """Those people of the table whom certificates name, but for those who were readmitted since.

    Costs a MAC of every id of the table for each key that certificates were made with.

    Raises:
        AuditLogError: the log of somebody named is damaged.
        StoreError: the store failed.
    """
    layout = store.layout()
    if layout is None:
        return []
    wanted: dict[str, dict[str, list[Certificate]]] = {}
    for one in certificates:
        about = one.document["id_mac"]
        wanted.setdefault(about["key_id"], {}).setdefault(about["mac"], []).append(one)
    macs = Macs(store.ring.key, ID_DOMAIN)
    people: dict[str, dict[str, list[Certificate]]] = {}
    chunks = layout.chunks
    for candidate_id in ManifestTable(store).stored_ids(chunks.names)["candidate_id"]:
        for key_id, theirs in wanted.items():
            mac = macs.get(key_id)
            if mac is not None and (about := theirs.get(mac.hex(candidate_id.encode()))):
                chunk = chunks.chunk_of(storage_key(candidate_id))
                people.setdefault(chunk, {}).setdefault(candidate_id, []).extend(about)
    log = AuditLog(store)
    return [one for chunk, theirs in people.items() for one in _not_readmitted(log, chunk, theirs)]


def _not_readmitted(log: AuditLog, chunk: str, people: dict[str, list[Certificate]]) -> Iterator[str]:
    """Those of some people of a chunk who were not readmitted after the last erasure that is certified."""
    state = log.chunk_state(chunk)
    heads = {subject_digest(one): head for one, head in state.chains(people).items()}
    readmitted: dict[str, str] = {}
    for row, _ in chain_rows(log.segments, state, heads):
        if "decision" in row and row["decision"]["kind"] == Kind.READMITTED:
            readmitted[row["candidate_id"]] = row["decision"]["recorded_at"]
    for one, certificates in people.items():
        erased_at = max(certificate.document["erased"]["at"] for certificate in certificates)
        if readmitted.get(one, "") < erased_at:
            yield one
