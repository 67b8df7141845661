"""Certificates of a store: which are there, which are pending, and those that may be issued now.

A certificate is pending for everybody whose last registry row is an erasure that no stored certificate covers. It is
issued once three things are so: the row is anchored by the last checkpoint, a look at every object finds the id nowhere
but in the log, and where it may remain for a time and is named; and the ring signs. Nothing notes down who is pending:
that is derived from the chains and the stored certificates each time.
"""

import datetime as dt
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from subject_pipeline.anchoring.last_checkpoint import stored_checkpoint
from subject_pipeline.anchoring.signing import Signer
from subject_pipeline.audit.chunk_state import ChunkState
from subject_pipeline.audit.index.records import subject_digest
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.segment import ChainHead
from subject_pipeline.changes.registry_rows import chain_rows
from subject_pipeline.checkpoints.anchored import AnchoredSubjects
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import AuditLogError, CheckpointError, ConfigurationError
from subject_pipeline.lifecycle.erasure.certificate import Certificate, erasure_mac
from subject_pipeline.lifecycle.erasure.certifying import Erased, document_of
from subject_pipeline.lifecycle.erasure.left_behind import LeftBehind
from subject_pipeline.lifecycle.erasure.traces import look
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.store.layout import ERASURES
from subject_pipeline.store.opened import SubjectStore

_CHUNKS_AT_ONCE = 16
_ORDERS = {"erasure_ordered", "erasure_cancelled"}


@dataclass(frozen=True, slots=True)
class Issued:
    """What came of issuing certificates.

    Attributes:
        certificates: how many were issued now.
        pending: how many could not be yet.
        holding: objects that hold the id of somebody whose certificate waits for nothing else, at most a few.
    """

    certificates: int = 0
    pending: int = 0
    holding: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pending:
    """The erasures of one chunk that no certificate covers: its log, and their chains' ends with their names."""

    state: ChunkState
    heads: dict[bytes, ChainHead] = field(default_factory=dict)


class Certificates:
    """The certificates of one store.

    Args:
        store: whose.
    """

    def __init__(self, store: SubjectStore) -> None:
        self._store = store

    def stored(self) -> Iterator[Certificate]:
        """Every certificate that is stored and that a key of the ring has signed; what is none is passed over.

        Raises:
            KeyRingError: there is no usable key ring.
            StoreError: the store failed.
        """
        layout = self._store.layout()
        if layout is None:
            return
        lines = TrustedKeys.of_ring(self._store.ring.ring(), layout.log_id).lines
        for item in self._store.objects.list(ERASURES):
            data = self._store.objects.get(item.key) or b""
            for line in data.splitlines(keepends=True):
                try:
                    certificate = Certificate.parse(line)
                except CheckpointError:
                    continue
                if certificate.document["log_id"] == layout.log_id and certificate.signed_by(lines):
                    yield certificate

    def of(self, candidate_id: str) -> Certificate | None:
        """The newest certificate about somebody; None where there is none."""
        theirs = [one for one in self.stored() if one.names(candidate_id, self._store.ring.key)]
        return max(theirs, key=lambda one: (one.document["row"]["seq"], one.document["looked"]["at"]), default=None)

    def pending(self) -> int:
        """How many erasures no stored certificate covers; otherwise as `issue`."""
        return sum(len(theirs.heads) for theirs in self._pending().values())

    def issue(self) -> Issued:
        """Issue every certificate that may be issued now, as one object.

        Raises:
            KeyRingError: there is no usable key ring.
            StoreError: the store failed.
        """
        pending = self._pending()
        count = sum(len(theirs.heads) for theirs in pending.values())
        checkpoint = self._checkpoint() if count else None
        if checkpoint is None:
            return Issued(pending=count)
        erased = [one for chunk, theirs in pending.items() for one in self._anchored(chunk, theirs, checkpoint)]
        if not erased:
            return Issued(pending=count)
        traces = look(self._store.objects, [one.candidate_id for one in erased])
        left = LeftBehind.of(self._store, traces)
        documents = [
            document_of(one, self._store.ring.ring(), checkpoint, traces, left, remaining)
            for one in erased
            if (remaining := traces.remaining(one.candidate_id)) is not None
        ]
        if documents:
            self._write(documents)
        return Issued(len(documents), count - len(documents), traces.blocking[:5])

    def _pending(self) -> dict[str, _Pending]:
        """By chunk, who is erased and has no certificate; of a chunk whose log is damaged nobody is known."""
        layout = self._store.layout()
        log = AuditLog(self._store)
        if layout is None or not log.segments.exist():
            return {}
        known = {(one.document["id_mac"]["key_id"], one.document["erasure_mac"]) for one in self.stored()}
        keys = {key_id: key for key_id, _ in known if (key := self._store.ring.key(key_id)) is not None}

        def is_certified(digest: bytes, head: ChainHead) -> bool:
            seq = head.evidence.seq if head.evidence else 0
            return any((key_id, erasure_mac(key, digest, seq)) in known for key_id, key in keys.items())

        def pending(chunk: str) -> tuple[str, _Pending | None]:
            try:
                state = log.chunk_state(chunk, past_end=False)
            except AuditLogError:
                return chunk, None
            heads = state.with_evidence("erased")
            return chunk, _Pending(state, {one: head for one, head in heads.items() if not is_certified(one, head)})

        found = overlapped(pending, layout.chunks.names, at_once(self._store.objects, _CHUNKS_AT_ONCE))
        return {chunk: theirs for chunk, theirs in found if theirs is not None and theirs.heads}

    def _checkpoint(self) -> Checkpoint | None:
        """The last checkpoint, where it holds and the ring can sign."""
        signing = self._store.ring.ring().signing
        if signing is None or signing.private is None:
            return None
        try:
            return stored_checkpoint(self._store)
        except (CheckpointError, ConfigurationError):
            return None  # which verification says, and says why

    def _anchored(self, chunk: str, pending: _Pending, checkpoint: Checkpoint) -> Iterator[Erased]:
        """Those of a chunk's erasures that the checkpoint anchors; rows are read only where it has erased people."""
        layout = self._store.layout_or_create()
        trusted = TrustedKeys.of_ring(self._store.ring.ring(), layout.log_id)
        checkpoints = CheckpointStore(self._store.objects, layout.log_id, layout.chunks, trusted)
        try:
            roster = checkpoints.roster(checkpoint.leaves[chunk])
        except CheckpointError:
            return
        if all(entry.state != "erased" for entry in roster.entries.values()):
            return
        anchored = AnchoredSubjects(layout.log_id, roster)
        try:
            found = list(self._erased(chunk, pending))
        except AuditLogError:
            return
        for one in found:
            entry = anchored.entry(one.candidate_id)
            if entry is not None and entry.state == "erased" and entry.seq >= one.row["seq"]:
                yield one

    def _erased(self, chunk: str, pending: _Pending) -> Iterator[Erased]:
        chains: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
        log = AuditLog(self._store)
        for row, sha256 in chain_rows(log.segments, pending.state, pending.heads):
            if "decision" in row:
                chains.setdefault(row["candidate_id"], []).append((row, sha256))
        key = self._store.ring.ring().active_key
        for candidate_id, rows in chains.items():
            last, leaf = rows[-1]
            decisions = [one["decision"] for one, _ in rows]
            orders = [one for one in decisions if one["kind"] in _ORDERS]
            ordered = orders[-1] if orders and orders[-1]["kind"] == "erasure_ordered" else None
            released = sum(one["kind"] == "hold_released" for one in decisions)
            mac = erasure_mac(key, subject_digest(candidate_id), last["seq"])
            yield Erased(candidate_id, chunk, last, leaf, mac, ordered, released)

    def _write(self, documents: Sequence[Mapping[str, Any]]) -> None:
        signer = Signer.of(self._store.ring, str(documents[0]["log_id"]))
        seed = signer.seeds[signer.line]
        data = b"".join(Certificate.signed(document, seed).line() for document in documents)
        now = dt.datetime.now(dt.UTC)
        self._store.objects.create(f"{ERASURES}{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.jsonl", data)
