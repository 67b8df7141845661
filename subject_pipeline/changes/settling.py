"""Settling: what is recorded in the audit log and not in the table is applied to the table, and nothing else."""

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import polars as pl

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.changes.recorded import Standings
from subject_pipeline.changes.replaying import Standing
from subject_pipeline.errors import AmbiguousSubjectError, AuditLogError, ConflictError
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.rows import PROBLEM
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore

IDS = ["chunk", "storage_key", "candidate_id"]
"""The columns by which `Snapshot.delete` knows a subject."""


def settle_one(snapshot: Snapshot, layout: ChunkLayout, there: pl.DataFrame, standing: Standing) -> None:
    """Give the table what is recorded of one subject, if it is behind.

    Args:
        snapshot: the version that the standing was looked up for; it is committed against.
        layout: the store's chunks.
        there: `TABLE_SCHEMA`, the subject's row of that version, or none.
        standing: what is recorded.

    Raises:
        ConflictError: another writer committed meanwhile.
        StoreError: the store failed.
    """
    if not standing.behind:
        return
    if standing.document is not None:
        snapshot.upsert(to_rows([SubjectManifest.parse(dict(standing.document))], layout))
    else:
        snapshot.delete(there.select(IDS))


def settle(store: SubjectStore, evidence: ManifestEvidence) -> tuple[int, int]:
    """Apply whatever any writer recorded and did not live to apply; what the log does not explain is left as it is.

    Returns:
        How many subjects were settled, and how many, or whole chunks, were left since the log is damaged or does not
        explain their manifests.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring.
        StoreError: the store failed; run it again.
    """
    layout = store.layout()
    if layout is None or not evidence.open():
        return 0, 0
    snapshot = ManifestTable(store).snapshot()
    done = [_Chunk(store, layout.chunks, evidence, chunk).settle(snapshot) for chunk in layout.chunks.names]
    return sum(settled for settled, _ in done), sum(left for _, left in done)


def stored_rows(snapshot: Snapshot, rows: pl.DataFrame) -> tuple[pl.DataFrame, set[str | None]]:
    """The stored rows of some storage keys, and the ids and keys of rows in their chunks that break the table's rules.

    Args:
        snapshot: the version that is read.
        rows: columns `chunk` and `storage_key`.

    Returns:
        `TABLE_SCHEMA`; and whom nothing may be done with.
    """
    chunks = rows["chunk"].unique().sort().to_list()
    snapshot.own_files(chunks)
    every = snapshot.judged_rows(chunks)
    sound = pl.col(PROBLEM).is_null()
    broken = every.filter(~sound)
    stored = every.filter(sound).drop(PROBLEM).join(rows.select("storage_key"), on="storage_key", how="semi")
    return stored, {*broken["candidate_id"], *broken["storage_key"]}


@dataclass(frozen=True, slots=True)
class Settled:
    """The stored manifests of some subjects as they must be by the log.

    Attributes:
        rows: `TABLE_SCHEMA`; of two with one storage key, the last one is the table's, and keeps it.
        standings: what is recorded, by candidate id.
        roots: the hash of the first row of each chain, by candidate id.
        erased: whose last registry row is an erasure.
    """

    rows: pl.DataFrame
    standings: Standings
    roots: Mapping[str, str]
    erased: Collection[str] = ()

    @property
    def behind(self) -> set[str]:
        """Those whom the table has otherwise."""
        return {one for one, that in self.standings.items() if isinstance(that, Standing) and that.behind}

    def reason(self, candidate_id: str) -> str | None:
        """Why nothing may be done with somebody; None where it may."""
        found = self.standings.get(candidate_id)
        return str(found) if isinstance(found, AmbiguousSubjectError) else None


def settled(evidence: ManifestEvidence, layout: ChunkLayout, wanted: pl.DataFrame, stored: pl.DataFrame) -> Settled:
    """Replay what is recorded of some subjects upon their stored rows; nothing is written.

    Args:
        evidence: opened.
        layout: the store's chunks.
        wanted: columns `chunk` and `candidate_id`: whom it is about.
        stored: `TABLE_SCHEMA`, the rows that they have at the version that was pinned before.

    Raises:
        AuditLogError: a log is damaged.
        StoreError: the store failed.
    """
    standings: dict[str, Standing | AmbiguousSubjectError] = {}
    roots: dict[str, str] = {}
    erased: set[str] = set()
    for (chunk,), part in wanted.group_by("chunk"):
        recorded = evidence.recorded(str(chunk))
        candidate_ids = part["candidate_id"].to_list()
        standings.update(recorded.standings(stored.filter(pl.col("chunk") == chunk), candidate_ids))
        roots.update(recorded.roots(candidate_ids))
        erased |= recorded.erased(candidate_ids)
    found = Settled(stored, standings, roots, erased)
    if not found.behind:
        return found
    others = stored.filter(~pl.col("candidate_id").is_in(list(found.behind)))
    replayed = [
        SubjectManifest.parse(dict(that.document))
        for that in standings.values()
        if isinstance(that, Standing) and that.behind and that.document is not None
    ]
    return Settled(pl.concat([to_rows(replayed, layout), others]), standings, roots, erased)


@dataclass(frozen=True, slots=True)
class _Chunk:
    store: SubjectStore
    layout: ChunkLayout
    evidence: ManifestEvidence
    name: str

    def settle(self, snapshot: Snapshot | None) -> tuple[int, int]:
        """How many were settled, and how many are left as they are; damage of one chunk keeps no other from it.

        Args:
            snapshot: of any time: where it lacks nothing that the log has now, nothing is to be done.
        """
        try:
            recorded = self.evidence.recorded(self.name)
            if not recorded.has_registry_rows:
                return 0, 0
            with contextlib.suppress(ConflictError):  # its files are gone: it is looked at again
                if snapshot is not None and not recorded.unsettled(snapshot.rows([self.name])):
                    return 0, 0
            deleted, _ = retrying(self._delete)
            written, left = retrying(self._write)
        except (AmbiguousSubjectError, AuditLogError):
            return 0, 1
        return deleted + written, left

    def _delete(self) -> tuple[int, int]:
        snapshot, stored, behind, left = self._unsettled()
        gone = [one for one, that in behind.items() if that.document is None]
        if gone:
            snapshot.delete(stored.filter(pl.col("candidate_id").is_in(gone)).select(IDS))
        return len(gone), left

    def _write(self) -> tuple[int, int]:
        snapshot, stored, behind, left = self._unsettled()
        documents = [dict(that.document) for that in behind.values() if that.document is not None]
        rows = to_rows(map(SubjectManifest.parse, documents), self.layout)
        owners = stored.select("storage_key", owner="candidate_id")
        free = rows.join(owners, on="storage_key", how="left", maintain_order="left").filter(
            pl.col("owner").is_null() | (pl.col("owner") == pl.col("candidate_id"))
        )
        if free.height:
            snapshot.upsert(free.drop("owner"))
        # Whose storage key another id has got meanwhile can only be deleted.
        return free.height, left + rows.height - free.height

    def _unsettled(self) -> tuple[Snapshot, pl.DataFrame, Mapping[str, Standing], int]:
        """The table, the chunk's rows in it, everyone it is behind on, and how many the log does not explain."""
        snapshot = ManifestTable(self.store).snapshot_or_create()
        recorded = self.evidence.recorded(self.name)
        stored = snapshot.rows([self.name])
        unsettled = recorded.unsettled(stored)
        behind = {one: that for one, that in unsettled.items() if isinstance(that, Standing)}
        return snapshot, stored, behind, len(unsettled) - len(behind)
