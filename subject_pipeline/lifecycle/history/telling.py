"""What is told of one person: the events of their record, and their manifest as it was."""

from dataclasses import dataclass
from typing import Any

from subject_pipeline.errors import UnknownSubjectError
from subject_pipeline.lifecycle.history.as_of import manifest_at
from subject_pipeline.lifecycle.history.chains import Anchoring, Row, anchoring, chain, registry_rows
from subject_pipeline.lifecycle.history.events import Event, events_of
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that is recorded of one subject.

    Attributes:
        manifest: as the table has it; None: it has none, as of somebody who was erased.
        rows: the chain.
        anchoring: what the latest checkpoint covers; None: there is none that could be checked.
    """

    candidate_id: str
    manifest: SubjectManifest | None
    rows: list[Row]
    anchoring: Anchoring | None

    @classmethod
    def of(cls, store: SubjectStore, candidate_id: str) -> "Record":
        """The record of a subject who has a manifest, or a chain, or both.

        Raises:
            UnknownSubjectError: neither.
            AuditLogError: the chain is broken.
            CheckpointError: the latest checkpoint does not hold.
            StoreError: the store failed.
        """
        manifest, rows = _manifest_and_rows(store, candidate_id)
        return cls(candidate_id, manifest, rows, anchoring(store, candidate_id))

    @property
    def document(self) -> dict[str, Any] | None:
        """The manifest's JSON."""
        return self.manifest.as_json() if self.manifest is not None else None

    def events(self, *, folded: bool) -> list[Event]:
        """The events in order of time; see `events_of`."""
        return events_of(self.document, self.rows, self.anchoring, folded=folded)


def manifest_then(store: SubjectStore, candidate_id: str, time: str) -> SubjectManifest:
    """A subject's manifest as it was at a time, RFC 3339 in the store's form.

    Raises:
        UnknownThenError: there was no manifest then, or what it was cannot be told.
        UnknownSubjectError: nobody ever had this id, as far as manifests and log go.
        AmbiguousSubjectError: the manifest is none that the log explains.
        AuditLogError: the chain is broken.
        StoreError: the store failed.
    """
    manifest, rows = _manifest_and_rows(store, candidate_id)
    changes = registry_rows(rows)
    layout = store.layout()
    if layout is None or (manifest is None and not changes):
        raise _unknown(candidate_id)
    then = manifest_at(
        candidate_id,
        manifest.as_json() if manifest is not None else None,
        changes,
        time,
        chunk=layout.chunks.chunk_of(storage_key(candidate_id)),
        declared={one.name: one.safe_views for one in store.catalog.datasets()},
    )
    return SubjectManifest.parse(dict(then))


def _manifest_and_rows(store: SubjectStore, candidate_id: str) -> tuple[SubjectManifest | None, list[Row]]:
    rows = chain(store, candidate_id)
    try:
        return SubjectRegistry(store).get(candidate_id), rows
    except UnknownSubjectError:
        if not rows:
            raise
        return None, rows


def _unknown(candidate_id: str) -> UnknownSubjectError:
    return UnknownSubjectError(f"no subject has the id {candidate_id!r}")
