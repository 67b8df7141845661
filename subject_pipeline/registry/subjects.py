"""The subject registry: put, get, delete and count manifests, one subject at a time.

It is longer than other files because what is put and what is deleted must be looked up, judged and settled alike.
"""

import polars as pl

from subject_pipeline.candidates import staged_parts
from subject_pipeline.changes.evidence import Change, ManifestEvidence, dated, incomplete
from subject_pipeline.changes.recorded import RecordedChunk
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.changes.settling import IDS, settle_one
from subject_pipeline.decisions.retention import check_not_held
from subject_pipeline.errors import (
    CollisionError,
    ConflictError,
    ManifestError,
    ResurrectedError,
    StoreError,
    UnknownSubjectError,
)
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_manifest, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import collision_reason
from subject_pipeline.registry.suppressing import SUPPRESSED
from subject_pipeline.settings import system_user
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal, storage_key
from subject_pipeline.store.layout import StoreLayout
from subject_pipeline.store.opened import SubjectStore


class SubjectRegistry:
    """The manifests of one store. Ids are compared whole: `CAND_1` is unknown where `CAND/1` is registered.

    Once the store has an audit log, a change of a manifest is recorded in it first, and what is recorded of a subject
    and not in the table yet is settled by the next change of it.
    """

    def __init__(self, store: SubjectStore, evidence: ManifestEvidence | None = None) -> None:
        """Open nothing yet.

        Args:
            store: where manifests are kept.
            evidence: records changes; None: as the system user. Without a key ring, a store that has an audit log is
                only read.
        """
        self._store = store
        self._evidence = evidence or ManifestEvidence(store, system_user())

    def get(self, candidate_id: str) -> SubjectManifest:
        """A subject's manifest.

        Raises:
            UnknownSubjectError: no manifest carries this id.
            AmbiguousSubjectError: the table has rows of this id or its storage key that no honest writer makes.
            StoreError: the store failed.
        """
        layout = self._store.layout()
        rows = self._stored(layout.chunks, candidate_id) if layout else pl.DataFrame()
        if rows.is_empty():
            raise _unknown(candidate_id)
        return to_manifest(rows.row(0, named=True))

    def put(self, manifest: SubjectManifest) -> bool:
        """Write a manifest, whether or not the subject has one; True if it had none.

        With an audit log, `audit_log_chain_root` becomes what the log says, and a manifest that is replaced has an
        `updated_at` after the former one's.

        Raises:
            ManifestError: the id cannot become a subject's, the person was erased, or no row can record the manifest.
            CollisionError: the storage key belongs to another id, which is unchanged.
            KeyRingError: there is an audit log, and no usable key ring.
            AmbiguousSubjectError: the table has rows of this id or its storage key that no honest writer makes.
            AuditLogError: the log is damaged; nothing was written.
            IncompleteError: recorded in the log and not in the table; the next change, or `compact`, settles it.
            StoreError: the store failed; nothing was written.
        """
        reason = refusal(manifest.candidate_id, manifest.candidate_id)
        if reason is not None:
            raise ManifestError(f"cannot register {manifest.candidate_id!r}: {reason}")
        layout = self._store.layout_or_create().chunks
        candidate_id, key = manifest.candidate_id, storage_key(manifest.candidate_id)
        chunk = layout.chunk_of(key)
        recording = self._evidence.open()
        recorded: set[str] = set()
        created = True

        def attempt() -> None:
            nonlocal created
            snapshot = ManifestTable(self._store).snapshot_or_create()
            there = _of(snapshot, layout, candidate_id)
            owner = there["candidate_id"][0] if there.height else candidate_id
            if owner != candidate_id:
                raise CollisionError(collision_reason(candidate_id, owner, key))
            if not recording:
                created = there.is_empty()
                snapshot.upsert(to_rows([manifest], layout))
                return
            chains = self._evidence.recorded(chunk)
            standing, before = _standing(chains, candidate_id, there)
            if recorded:
                settle_one(snapshot, layout, there, standing)
                return
            if chains.erased([candidate_id]):
                raise ManifestError(f"cannot register {candidate_id!r}: {SUPPRESSED}")
            created = before is None
            new = dated(manifest, before, standing).model_copy(
                update={"audit_log_chain_root": chains.roots([candidate_id]).get(candidate_id, "")}
            )
            change = Change(candidate_id, before, new.as_json(), standing.last)
            if (reason := change.unrecordable) is not None:
                raise ManifestError(f"cannot register {candidate_id!r}: {reason}")
            self._evidence.record(chunk, [change], into=recorded)
            snapshot.upsert(to_rows([new], layout))

        try:
            retrying(attempt)
        except StoreError as error:
            if recorded:
                raise incomplete(f"the change of {candidate_id!r}", error) from error
            raise
        ManifestTable(self._store).tidy([chunk])
        return created

    def delete(self, candidate_id: str) -> int:
        """Delete a subject's manifest, and its staged candidates, so that no re-run brings it back from there.

        Earlier versions of the table still hold the row until `compact` removes them. Somebody who is deleted according
        to the log, and has come back since with a table that was restored, is deleted without another row.

        Returns:
            How many staged parts were rewritten.

        Raises:
            UnknownSubjectError: no manifest carries this id.
            HeldError: a legal hold stands; nothing was deleted.
            KeyRingError: there is an audit log, and no usable key ring.
            AmbiguousSubjectError: the table has rows of this id or its storage key that no honest writer makes.
            AuditLogError: the log is damaged; the subject is still registered.
            IncompleteError: begun and not done; run it again. What is recorded is settled by `compact` too.
            StoreError: the store failed; nothing was written.
        """
        layout = self._check_known(candidate_id)
        recording = self._evidence.open()
        recorded: set[str] = set()

        def attempt() -> None:
            snapshot = ManifestTable(self._store).snapshot()
            if snapshot is None:
                raise _unknown(candidate_id)
            found = _of(snapshot, layout.chunks, candidate_id)
            if recording and self._settles(snapshot, layout.chunks, candidate_id, found, recorded):
                return
            there = found.filter(pl.col("candidate_id") == candidate_id)
            if there.height:
                if not recording:
                    check_not_held(to_manifest(there.row(0, named=True)).as_json())
                snapshot.delete(there.select(IDS))
            elif not recorded:
                raise _unknown(candidate_id)

        forgotten = 0
        try:
            # Staged first: if killed in between, the subject is still registered, and a second call does it all.
            forgotten = staged_parts.forget(self._store.objects, layout.chunks, [candidate_id])
            retrying(attempt)
        except StoreError as error:
            if recorded or forgotten:
                raise incomplete(f"the deletion of {candidate_id!r}", error) from error
            raise
        return forgotten

    def _stored(self, layout: ChunkLayout, candidate_id: str) -> pl.DataFrame:
        """The table's row of an id, `TABLE_SCHEMA`; or none."""
        nobody = pl.DataFrame(schema=TABLE_SCHEMA)
        found = ManifestTable(self._store).read(lambda snapshot: _of(snapshot, layout, candidate_id), nobody)
        return found.filter(pl.col("candidate_id") == candidate_id)

    def _settles(
        self, snapshot: Snapshot, layout: ChunkLayout, candidate_id: str, found: pl.DataFrame, recorded: set[str]
    ) -> bool:
        """Record a deletion; True where it was recorded before, by whomever, and the table has now been settled.

        Args:
            snapshot: the version that is looked at.
            layout: the store's chunks.
            candidate_id: who is to be deleted.
            found: the row of the subject's storage key in that version, or none.
            recorded: gains the subject when the deletion is in the log; if it is in here, it is already.
        """
        chunk = layout.chunk_of(storage_key(candidate_id))
        there = found.filter(pl.col("candidate_id") == candidate_id)
        try:
            standing, before = _standing(self._evidence.recorded(chunk), candidate_id, there)
        except ResurrectedError:
            snapshot.delete(there.select(IDS))  # it was recorded before the table was restored
            return True
        if recorded or (before is None and there.height):
            settle_one(snapshot, layout, there, standing)
            return True
        if before is not None:
            check_not_held(before)
            if found.is_empty():
                # Anyone who recorded the manifest may be about to commit it. That must conflict with the deletion, and
                # only a row that is there can be deleted. (Where another id has the storage key, nobody can commit it.)
                settle_one(snapshot, layout, there, standing)
                raise ConflictError(f"what was recorded of {candidate_id!r} was not in the table yet")
            self._evidence.record(chunk, [Change(candidate_id, before, None, standing.last)], into=recorded)
        return False

    def _check_known(self, candidate_id: str) -> StoreLayout:
        """Refuse an id that neither the table nor, where it is ahead, the log has a manifest of, and somebody held."""
        layout = self._store.layout()
        if layout is None:
            raise _unknown(candidate_id)
        there = self._stored(layout.chunks, candidate_id)
        self._evidence.open()
        try:
            chains = self._evidence.recorded(layout.chunks.chunk_of(storage_key(candidate_id)))
            document = _standing(chains, candidate_id, there)[1]
        except ResurrectedError:
            return layout
        if document is not None:
            check_not_held(document)
        elif there.is_empty():
            raise _unknown(candidate_id)
        return layout

    def count(self) -> int:
        """How many subjects there are; 0 in a store that was never written.

        Raises:
            ConfigurationError: another chunk count is wanted than the store has.
            StoreError: the store failed.
        """
        self._store.layout()
        return ManifestTable(self._store).count()


def _of(snapshot: Snapshot, layout: ChunkLayout, candidate_id: str) -> pl.DataFrame:
    """The row of an id's storage key, `TABLE_SCHEMA`: none, or the one there may be.

    Raises:
        AmbiguousSubjectError: there are more, or others of this id.
        StoreError: the store failed.
    """
    key = storage_key(candidate_id)
    either = (pl.col("candidate_id") == candidate_id) | (pl.col("storage_key") == key)
    return snapshot.rows([layout.chunk_of(key)], None, either)


def _standing(chains: RecordedChunk, candidate_id: str, there: pl.DataFrame) -> tuple[Standing, Document | None]:
    """What is recorded of a subject, and its manifest as it must be now; None: there must be none."""
    found = chains.standings(there, [candidate_id]).get(candidate_id, Standing())
    if not isinstance(found, Standing):
        raise found
    if found.behind:
        return found, found.document
    return found, to_manifest(there.row(0, named=True)).as_json() if there.height else None


def _unknown(candidate_id: str) -> UnknownSubjectError:
    return UnknownSubjectError(f"no subject has the id {candidate_id!r}")
