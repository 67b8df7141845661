"""What a verification reads of a whole store: the last checkpoint, the table's files and the list of the logs.

It is longer than other files because what is believed, and in which order it is read, should be seen in one place.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from subject_pipeline.audit.segment import Segment
from subject_pipeline.audit.stored_segments import AuditSegments, Listing
from subject_pipeline.checkpoints.leaves import ChunkLeaf
from subject_pipeline.checkpoints.signed_layout import contradiction, first_statement
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore, Retired
from subject_pipeline.checkpoints.tree.head import TreeHead
from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.errors import CheckpointError, KeyRingError, StoreError
from subject_pipeline.keys.macs import KeyLookup
from subject_pipeline.keys.marks import read_marks
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.layout import AUDIT, LAYOUT_KEY, StoreLayout
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.findings import foreign, store_wide
from subject_pipeline.verification.log_verdicts import BrokenLog
from subject_pipeline.verification.manifest_reading import ManifestReader
from subject_pipeline.verification.public_keys import PublicKeys

_LOGS_ASKED = 16


@dataclass(frozen=True, slots=True)
class View:
    """What chunks are compared with, read in this order.

    Attributes:
        retired: by chunk, the last segment under which each retired key may appear.
    """

    checkpoint: Checkpoint | None
    manifests: ManifestReader
    listing: Listing
    retired: Retired

    def leaf(self, chunk: str) -> ChunkLeaf | None:
        """The checkpoint's leaf of a chunk."""
        return self.checkpoint.leaves.get(chunk) if self.checkpoint else None

    def foreign(self, chunk: str | None) -> list[BrokenLog]:
        """The objects among a chunk's segments that are none; None: those that lie in no chunk's folder."""
        return [foreign(item.key, chunk) for item in self.listing.foreign if _home(item.key, self.listing) == chunk]


class AuditedStore:
    """A store with the keys that it is verified with: its ring's, or public ones alone.

    Attributes:
        layout: the store's, as it is signed: with public keys what the newest checkpoint and the keys' name say, with a
            ring what the first does. None where nothing was ever written that needs one, or it is not known which log
            this is.
        problems: of the layout, where `catalog/layout.json` says something else.

    Raises:
        KeyRingError: there is no usable key ring, or nothing is signed by these public keys.
        ConfigurationError: another chunk count is wanted than the store has.
        StoreError: the store failed, or its layout is gone.
    """

    def __init__(self, store: SubjectStore, public: PublicKeys | None = None) -> None:
        self.store = store if public is None else store.without_ring()
        self.segments = AuditSegments(store.objects)
        self._public = public
        self.problems: list[BrokenLog] = []
        self.layout = self._checked_layout() if public is None else self._signed_layout(public)
        if self.layout is not None:
            self.store = replace(self.store, catalog=Catalog(store.objects, self.layout.chunks))

    @property
    def public(self) -> bool:
        """Whether there are public keys alone; then the store has no ring, so that nothing is verified with one."""
        return self._public is not None

    @property
    def macs(self) -> KeyLookup | None:
        """The keys of MACs; None: they cannot be verified."""
        return self.store.ring.key if self._public is None else None

    @property
    def trusted(self) -> TrustedKeys:
        """The keys of checkpoints; of none, no checkpoint can be checked."""
        if self._public is not None:
            return TrustedKeys(self._public.lines)
        return TrustedKeys.of_ring(self.store.ring.ring(), self.layout.log_id) if self.layout else TrustedKeys(())

    @property
    def checkpoints(self) -> CheckpointStore:
        """The store's checkpoints.

        Raises:
            KeyRingError: the ring has no public signing key.
            StoreError: the store has no layout yet.
        """
        if self.layout is None:
            raise StoreError("the store is empty")
        if not self.trusted.lines:
            raise KeyRingError("the key ring has no public signing key, so checkpoints cannot be checked")
        return CheckpointStore(self.store.objects, self.layout.log_id, self.layout.chunks, self.trusted)

    def hold_layout(self) -> None:
        """Refuse a store whose layout contradicts what is signed.

        Raises:
            CheckpointError: it does.
        """
        if self.problems:
            raise CheckpointError("; ".join(one.detail for one in self.problems))

    def mark(self) -> TreeHead | None:
        """What this ring signed last of this log, if it is one that signs.

        Raises:
            KeyRingError: the mark cannot be read, or is damaged.
        """
        if self.layout is None or self._public is not None:
            return None
        signing = self.store.ring.ring().signing
        if signing is None or signing.private is None:
            return None
        mark = read_marks(self.store.ring.path).get(self.layout.log_id)
        return TreeHead(self.layout.log_id, mark.size, mark.root) if mark else None

    def contradictions(
        self, checkpoint: Checkpoint | None, known_notes: Sequence[str], mark: TreeHead | None
    ) -> list[str]:
        """Why what is known from elsewhere is none of this store's; empty where all of it is.

        Args:
            checkpoint: the store's last, read after what it is compared with.
            known_notes: signed notes that were kept elsewhere.
            mark: as of `mark`.
        """
        reasons = self.checkpoints.contradictions(checkpoint, known_notes)
        behind = self.checkpoints.contradiction(checkpoint, mark) if mark is not None else None
        return [*reasons, f"this ring signed it last: {behind}"] if behind else reasons

    def view(
        self, chunks: Sequence[str], known_notes: Sequence[str], *, incremental: bool
    ) -> tuple[View | None, list[BrokenLog]]:
        """Read the checkpoint, open the table and list the logs.

        Args:
            chunks: whose logs to list.
            known_notes: signed notes of this log's checkpoints that were kept elsewhere.
            incremental: only the checkpoint's own objects are read; otherwise every earlier note too.

        Returns:
            The view, None where the store cannot be read or was never written; and the problems of the whole store.

        Raises:
            KeyRingError: the ring is not this store's.
        """
        problems = list(self.problems)
        if self.layout is None:
            if known_notes and not problems:
                problems.append(store_wide("bad_checkpoint", "a checkpoint is known, the store is empty"))
            return None, problems
        checkpoint, retired = self._checkpoint(known_notes, problems, whole=not incremental)
        try:
            manifests = ManifestReader.open(self.store, self.layout.chunks)
            listing = self.segments.list(chunks, whole=set(chunks) == set(self.layout.chunks.names))
        except StoreError as error:
            problems.append(store_wide("unreadable", str(error)))
            return None, problems
        found = View(checkpoint, manifests, listing, retired)
        if checkpoint is None and self.macs is not None:
            _refuse_a_strange_ring(self.segments, self.macs, listing)
        return found, [*problems, *found.foreign(None)]

    def view_again(self, chunks: Sequence[str], before: View | None) -> View | None:
        """A view of some chunks as they are now; None where there was none, or the store cannot be read."""
        if self.layout is None or before is None:
            return None
        try:
            checkpoint = before.checkpoint and self.checkpoints.latest(whole=False)
            retired = self.checkpoints.retired(checkpoint) if checkpoint else {}
            manifests = ManifestReader.open(self.store, self.layout.chunks)
            return View(checkpoint, manifests, self.segments.list(chunks, whole=False), retired)
        except (CheckpointError, StoreError):
            return None

    def newer_checkpoint(self, than: Checkpoint) -> bool:
        """Whether a checkpoint was written after this one; False where it cannot be read."""
        try:
            latest = self.checkpoints.latest(whole=False)
        except (CheckpointError, StoreError):
            return False
        return latest is not None and latest.number > than.number

    def _checkpoint(
        self, known_notes: Sequence[str], problems: list[BrokenLog], *, whole: bool
    ) -> tuple[Checkpoint | None, Retired]:
        """The last checkpoint, if it holds and everything known from elsewhere is among the stored ones."""
        mark = self.mark()  # before the store is read, which another signer may advance meanwhile
        try:
            if not self.trusted.lines and not known_notes:
                problems.append(store_wide("unreadable", "the key ring has no public signing key"))
                return None, {}
            store = self.checkpoints
            checkpoint = store.latest(whole=whole)
            retired = store.retired(checkpoint) if checkpoint else {}
            reasons = self.contradictions(checkpoint, known_notes, mark)
            problems += [store_wide("bad_checkpoint", reason) for reason in reasons]
        except CheckpointError as error:
            problems.append(store_wide("bad_checkpoint", str(error)))
        except StoreError as error:
            problems.append(store_wide("unreadable", str(error)))
        else:
            return (None, {}) if reasons else (checkpoint, retired)
        return None, {}

    def _checked_layout(self) -> StoreLayout | None:
        """The stored layout, with the chunk count that is signed; another one in the store is a problem.

        None, and a problem too, where what is signed is of another log: then it is not known whose store this is.
        """
        ring = self.store.ring.ring()
        stored = self.store.layout()
        signed = first_statement(self.store.objects, ring) if stored else None
        wrong = contradiction(stored, signed) if stored else None
        if stored is None or signed is None or wrong is None:
            return stored
        self.problems.append(store_wide("bad_checkpoint", wrong))
        same = stored.log_id == signed.log_id
        return stored.model_copy(update={"chunk_count": signed.chunks}) if same else None

    def _signed_layout(self, keys: PublicKeys) -> StoreLayout | None:
        """The layout that is signed, which is all that is believed; another one in the store is a problem.

        None, and a problem too, where the checkpoints do not say.
        """
        try:
            count = keys.chunk_count(self.store.objects)
        except CheckpointError as error:
            self.problems.append(store_wide("bad_checkpoint", str(error)))
            return None
        try:
            stored = self.store.layout()
        except StoreError as error:
            self.problems.append(store_wide("unreadable", str(error)))
            return StoreLayout(chunk_count=count, log_id=keys.log_id, created_at=dt.datetime.now(dt.UTC))
        if stored is None or (stored.log_id, stored.chunk_count) != (keys.log_id, count):
            detail = f"{LAYOUT_KEY} is not of the log {keys.log_id} with {count:,} chunks, which is what is signed"
            self.problems.append(store_wide("bad_checkpoint", detail))
        at = stored.created_at if stored else dt.datetime.now(dt.UTC)
        return StoreLayout(chunk_count=count, log_id=keys.log_id, created_at=at)


def _refuse_a_strange_ring(segments: AuditSegments, keys: KeyLookup, listing: Listing) -> None:
    """Where no note was verified: a ring that also knows no key of the logs is another store's.

    Raises:
        KeyRingError: it is.
    """
    logs = [(chunk, max(numbers)) for chunk, numbers in listing.segments.items() if numbers][:_LOGS_ASKED]
    asked = 0
    for chunk, number in logs:
        try:
            header = Segment.parse(segments.get(chunk, number) or b"").header
        except StoreError:
            continue
        if header is None:
            continue
        if keys(str(header.get("key_id"))) is not None:
            return
        asked += 1
    if asked:
        raise KeyRingError(
            f"this key ring is not this store's: it has none of the keys of {asked:,} logs that were asked, and no "
            "checkpoint is signed by its key; set SUBJECT_KEY_RING to the ring that this store is written with"
        )


def _home(key: str, listing: Listing) -> str | None:
    """The chunk among whose segments an object lies that is none of them."""
    chunk = key.removeprefix(AUDIT).partition("/")[0]
    return chunk if chunk in listing.segments else None
