"""The subject registry: put, get, delete and count manifests, one subject at a time."""

import polars as pl

from subject_pipeline.domain.candidates import refusal, storage_key
from subject_pipeline.domain.manifest_frames import to_manifest, to_rows
from subject_pipeline.domain.manifests import SubjectManifest
from subject_pipeline.domain.registration import collision_reason
from subject_pipeline.errors import CollisionError, ManifestError, UnknownSubjectError
from subject_pipeline.storage import staging
from subject_pipeline.use_cases.retries import retrying
from subject_pipeline.use_cases.store import SubjectStore

_IDS = ["chunk", "storage_key", "candidate_id"]


class SubjectRegistry:
    """The manifests of one store. Ids are compared whole: `CAND_1` is unknown where `CAND/1` lives."""

    def __init__(self, store: SubjectStore) -> None:
        self._store = store

    def get(self, candidate_id: str) -> SubjectManifest:
        """A subject's manifest.

        Raises:
            UnknownSubjectError: no manifest carries this id.
            StoreError: the store failed.
        """
        layout = self._store.layout()
        if layout is None:
            raise _unknown(candidate_id)
        chunk = layout.chunks.chunk_of(storage_key(candidate_id))
        same = pl.col("candidate_id") == candidate_id
        rows = self._store.table.read(lambda snapshot: snapshot.rows([chunk], None, same), pl.DataFrame())
        if rows.is_empty():
            raise _unknown(candidate_id)
        return to_manifest(rows.row(0, named=True))

    def put(self, manifest: SubjectManifest) -> bool:
        """Write a manifest, whether or not the subject has one; True if it had none.

        Raises:
            ManifestError: the id cannot become a subject's.
            CollisionError: the storage key belongs to another id, which is unchanged.
            StoreError: the store failed.
        """
        reason = refusal(manifest.candidate_id, manifest.candidate_id)
        if reason is not None:
            raise ManifestError(f"cannot register {manifest.candidate_id!r}: {reason}")
        row = to_rows([manifest], self._store.layout_or_create().chunks)
        key, chunk = row["storage_key"][0], row["chunk"][0]

        def attempt() -> bool:
            snapshot = self._store.table.snapshot_or_create()
            there = snapshot.rows([chunk], ["candidate_id"], pl.col("storage_key") == key)["candidate_id"].to_list()
            if there and there[0] != manifest.candidate_id:
                raise CollisionError(collision_reason(manifest.candidate_id, there[0], key))
            snapshot.upsert(row)
            return not there

        created = retrying(attempt)
        self._store.table.tidy([chunk])
        return created

    def delete(self, candidate_id: str) -> int:
        """Delete a subject's manifest, and its staged candidates, so that no re-run brings it back from there.

        Earlier versions of the table still hold the row until `compact` removes them.

        Returns:
            How many staged parts were rewritten.

        Raises:
            UnknownSubjectError: no manifest carries this id.
            StoreError: the store failed; run it again to finish.
        """
        self.get(candidate_id)
        layout = self._store.layout_or_create()
        key = storage_key(candidate_id)
        chunk = layout.chunks.chunk_of(key)
        # Staged first: killed in between, the subject is still registered, and a second call finishes the work.
        forgotten = staging.forget(self._store.objects, layout.chunks, key, candidate_id)

        def attempt() -> None:
            snapshot = self._store.table.snapshot()
            if snapshot is None:
                raise _unknown(candidate_id)
            ids = snapshot.rows([chunk], _IDS, pl.col("candidate_id") == candidate_id)
            if ids.is_empty():
                raise _unknown(candidate_id)
            snapshot.delete(ids)

        retrying(attempt)
        return forgotten

    def count(self) -> int:
        """How many subjects there are; 0 in a store that was never written.

        Raises:
            ConfigurationError: another chunk count is wanted than the store has.
            StoreError: the store failed.
        """
        self._store.layout()
        return self._store.table.read(lambda snapshot: snapshot.count(), 0)


def _unknown(candidate_id: str) -> UnknownSubjectError:
    return UnknownSubjectError(f"no subject has the id {candidate_id!r}")
