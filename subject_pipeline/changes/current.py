"""What manifests are now, for readers alone: the table's, or where the log is ahead of it, what the log records.

The table's version is pinned first, then the log is read, so nothing that the log decided before is missed. Anyone who
relies on what is found here records on condition that no registry row came since (`Known.last`).

It is longer than other files because a view's order of reading should be seen beside what is kept of it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import unquote

import polars as pl

from subject_pipeline.audit.chunk_state import Chains, ChunkState
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.anchored import LastCheckpoint
from subject_pipeline.changes.recorded import RecordedChunk, Standings
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.errors import ManifestError, ResurrectedError, StoreError
from subject_pipeline.manifests.commits import table_errors
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_manifest
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.manifests.rows import PROBLEM
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.layout import TABLE

_AT_ONCE = 16
_REMEMBERED = 2_000
"""Of one chunk: a manifest takes some kilobytes in memory, and a tenth of a millisecond to make again."""

Files = tuple[tuple[str, str], ...]


class Known(NamedTuple):
    """What is known of one subject.

    Attributes:
        document: the manifest's JSON; None: there is none.
        last: the seq of the last registry row that it takes into account; -1: there was none.
        readable: whether the manifest can be relied on.
    """

    document: Document | None = None
    last: int = -1
    readable: bool = True


UNREADABLE = Known(readable=False)


@dataclass(frozen=True, slots=True)
class ChunkRows:
    """The rows that the table had of one chunk.

    Attributes:
        version: the table's; 0 where there is no table.
        files: what the table had of the chunk, each with what shows that it was written again.
        rows: `TABLE_SCHEMA`.
        places: where in `rows` each id is.
        broken: ids and storage keys of rows that break the table's rules.
    """

    version: int
    files: Files
    rows: pl.DataFrame
    places: Mapping[str, int]
    broken: Collection[str | None]

    @classmethod
    def of(cls, version: int, files: Files, judged: pl.DataFrame) -> "ChunkRows":
        """The rows of a chunk, of which each has its problem, if any."""
        sound = judged.filter(pl.col(PROBLEM).is_null()).drop(PROBLEM)
        wrong = judged.filter(pl.col(PROBLEM).is_not_null())
        broken = frozenset([*wrong["candidate_id"], *wrong["storage_key"]])
        return cls(version, files, sound, {one: at for at, one in enumerate(sound["candidate_id"])}, broken)

    def is_broken(self, candidate_id: str) -> bool:
        """Whether a row of this id, or of its storage key, breaks a rule."""
        return bool(self.broken) and (candidate_id in self.broken or storage_key(candidate_id) in self.broken)

    def document(self, candidate_id: str) -> Document | None:
        """The manifest that the table has of a subject, if any.

        Raises:
            ManifestError: the row is not a manifest.
        """
        at = self.places.get(candidate_id)
        return None if at is None else to_manifest(self.rows.row(at, named=True)).as_json()


@dataclass(frozen=True, slots=True)
class ChunkView:
    """One chunk's manifests as the table had them at one version, and where its chains ended after that.

    Attributes:
        stored: what the table had.
        chains: of the chunk.
        known: of those who were asked for so far; the one part that grows.
    """

    stored: ChunkRows
    chains: Chains
    known: dict[str, Known] = field(default_factory=dict)

    @classmethod
    def after(cls, before: "ChunkView | None", stored: ChunkRows, chains: Chains) -> "ChunkView":
        """A view that keeps what is known by an earlier one of those of whom nothing has changed since."""
        if before is None or before.stored.files != stored.files:
            return cls(stored, chains)
        known = {one: that for one, that in before.known.items() if that.readable and _last(chains, one) == that.last}
        return cls(stored, chains, known)

    def look(self, candidate_id: str) -> Known | None:
        """What is known of a subject; None where the log must be read for it."""
        found = self.known.get(candidate_id)
        if found is None and (found := self._judged(candidate_id)) is not None and len(self.known) < _REMEMBERED:
            self.known[candidate_id] = found
        return found

    def _judged(self, candidate_id: str) -> Known | None:
        try:
            document = self.stored.document(candidate_id)
        except ManifestError:
            return UNREADABLE
        if self.stored.is_broken(candidate_id):
            return UNREADABLE
        head = self.chains.chain(candidate_id)
        if head is None or head.evidence is None:
            return Known(document)
        digest = "" if document is None else document_hash(document)
        return Known(document, head.evidence.seq) if digest == head.evidence.sha256 else None


def _last(chains: Chains, candidate_id: str) -> int:
    head = chains.chain(candidate_id)
    return -1 if head is None or head.evidence is None else head.evidence.seq


class CurrentManifests:
    """Reads views of chunks, and settles in memory what no view alone can tell. Writes nothing.

    Args:
        log: of the store whose manifests they are.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._store = log.store
        self._table = ManifestTable(log.store)

    def views(self, chunks: Collection[str], before: Mapping[str, ChunkView]) -> dict[str, ChunkView]:
        """Views of some chunks, as they are now; without those that cannot be read.

        Args:
            chunks: their names.
            before: earlier views, of which is kept what has not changed.

        Raises:
            StoreError: the store failed.
        """
        stored = self._stored(list(chunks), before)

        def chains(chunk: str) -> Chains | None:
            try:
                return self._log.reading(chunk, ChunkState.all_chains)
            except StoreError:
                return None

        found = overlapped(chains, stored, at_once(self._store.objects, min(_AT_ONCE, len(stored))))
        return {
            chunk: ChunkView.after(before.get(chunk), stored[chunk], one)
            for chunk, one in zip(list(stored), found, strict=True)
            if one is not None
        }

    def settle(self, chunk: str, view: ChunkView, candidate_ids: Iterable[str]) -> None:
        """Find out what the log says of those whom a view alone could not tell, and note it there.

        Raises:
            StoreError: the store failed, or the log is damaged.
        """
        wanted = list(candidate_ids)
        rows = view.stored.rows.filter(pl.col("candidate_id").is_in(wanted))

        def read(state: ChunkState) -> tuple[Standings, Chains]:
            recorded = RecordedChunk(LastCheckpoint(self._store), (self._log.segments, state))
            return recorded.standings(rows, wanted), state.all_chains()

        standings, chains = self._log.reading(chunk, read)
        for one in wanted:
            view.known[one] = _known(view, one, standings.get(one), _last(chains, one))

    def _stored(self, chunks: list[str], before: Mapping[str, ChunkView]) -> dict[str, ChunkRows]:
        """The table's rows of some chunks; where they cannot be read together, of each that can be read alone."""
        opened = False

        def read(snapshot: Snapshot) -> dict[str, ChunkRows]:
            nonlocal opened
            opened = True
            return self._rows(snapshot, chunks, before)

        nobody = ChunkRows.of(0, (), pl.DataFrame(schema={**TABLE_SCHEMA, PROBLEM: pl.String}))
        try:
            return self._table.read(read, dict.fromkeys(chunks, nobody))
        except StoreError:
            if not opened:
                raise
        alone = ([one] for one in chunks if len(chunks) > 1)
        return {chunk: rows for one in alone for chunk, rows in self._stored(one, before).items()}

    def _rows(self, snapshot: Snapshot, chunks: list[str], before: Mapping[str, ChunkView]) -> dict[str, ChunkRows]:
        """Rows of chunks at one version, read only where the chunk's files are others than before."""
        files = self._files(snapshot, chunks)
        same = [chunk for chunk in chunks if chunk in before and before[chunk].stored.files == files[chunk]]
        found = {chunk: replace(before[chunk].stored, version=snapshot.version) for chunk in same}
        changed = [chunk for chunk in chunks if chunk not in found]
        rows = snapshot.judged_rows(changed) if changed else pl.DataFrame(schema={"chunk": pl.String})
        for chunk in changed:
            theirs = rows.filter(pl.col("chunk") == chunk)
            found[chunk] = ChunkRows.of(snapshot.version, files[chunk], theirs)
        return found

    def _files(self, snapshot: Snapshot, chunks: list[str]) -> dict[str, Files]:
        """The files that a version has of each chunk, with the tags of those that are there.

        Files of a table are never written again; where one was, or is gone, memory must not hide it.
        """
        live: dict[str, list[str]] = {chunk: [] for chunk in chunks}
        with table_errors("list the manifests' files"):
            for file in snapshot.own_files(chunks):
                live[file.chunk].append(f"{TABLE}/{unquote(file.path)}")

        def tagged(chunk: str) -> Files:
            there = {item.key: item.tag for item in self._store.objects.list(f"{TABLE}/chunk={chunk}/")}
            return tuple((key, there.get(key, "")) for key in live[chunk])

        at_a_time = at_once(self._store.objects, min(_AT_ONCE, len(chunks)))
        return dict(zip(chunks, overlapped(tagged, chunks, at_a_time), strict=True))


def _known(view: ChunkView, candidate_id: str, standing: Standing | StoreError | None, last: int) -> Known:
    """What is known of somebody whose chain was read."""
    if isinstance(standing, ResurrectedError):
        return Known(None, last)  # the log decides: there is no such person any more
    if not isinstance(standing, Standing):
        return UNREADABLE
    document = standing.document if standing.behind else view.stored.document(candidate_id)
    return Known(document, standing.last)
