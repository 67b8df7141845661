"""Manifests into the registry: what is new is registered, what differs is replaced.

It is longer than other files because deciding, recording and committing an import follow each other here.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import polars as pl

from subject_pipeline.changes.evidence import LAST_MOMENT, Change, ManifestEvidence, incomplete
from subject_pipeline.changes.replaying import Standing
from subject_pipeline.changes.settling import Settled, settled
from subject_pipeline.errors import ManifestError, StoreError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.files import Document, read_documents
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_json_lines, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest, Translations, audit_log_path
from subject_pipeline.manifests.rows import PROBLEM
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import AMBIGUOUS, collision_reason
from subject_pipeline.registry.outcomes import MAX_NAMED_FAILURES
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal, storage_key
from subject_pipeline.store.opened import SubjectStore

_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """One document that was not imported: its place, its id if it has one, and why."""

    where: str
    candidate_id: str | None
    reason: str


@dataclass(slots=True)
class ImportReport:
    """What an import did; `manifests = inserted + replaced + unchanged + failed`."""

    inserted: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: int = 0
    failures: list[ImportFailure] = field(default_factory=list)

    @property
    def manifests(self) -> int:
        """Documents that were read."""
        return self.inserted + self.replaced + self.unchanged + self.failed

    def fail(self, where: str, candidate_id: str | None, reason: str) -> None:
        """Count a failure, and name it while there is room."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED_FAILURES:
            self.failures.append(ImportFailure(where, candidate_id, reason))


def import_manifests(
    store: SubjectStore,
    path: Path,
    report: ImportReport | None = None,
    evidence: ManifestEvidence | None = None,
    words: Translations = MappingProxyType({}),
) -> ImportReport:
    """Import manifests from JSON lines, one JSON file, or a folder with one JSON file per subject.

    A document that is not a manifest, one with a word that is in no vocabulary, and one whose storage key belongs to
    another id, is named and does not stop the others. Of the same id twice, the later one is kept. `updated_at` becomes
    the time of the import where a manifest is written, and is always later than the stored one's; one that differs in
    nothing else is unchanged, and not written.
    `audit_log_path` becomes this store's; a log of another system that a manifest points to is kept under
    `imported_audit_log`. Once the store has an audit log, every replacement is recorded in it first, and
    `audit_log_chain_root` becomes what the log says.

    Args:
        store: where manifests are kept.
        path: the file or folder.
        report: filled while importing, so that an import which ends early can be reported too.
        evidence: records changes; without it, nothing is imported into a store that has an audit log.
        words: translates words of another system.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring.
        AuditLogError: the log is damaged.
        SourceError: the file or folder cannot be read.
        StoreError: the store failed; what was imported so far stays, and a second call continues.
    """
    documents = read_documents(path)
    first = next(documents, None)
    report = report if report is not None else ImportReport()
    if first is None:
        return report
    evidence = evidence or ManifestEvidence(store, KeyRingFile(None), actor="")
    evidence.open()
    layout = store.layout_or_create().chunks
    now = dt.datetime.now(dt.UTC)
    batch = [first, *islice(documents, _BATCH - 1)]
    while batch:
        parsed = _parse(batch, words, report)
        _import_batch(store, layout, _at_home(parsed, layout, evidence, now), report, evidence)
        batch = list(islice(documents, _BATCH))
    ManifestTable(store).tidy()
    return report


def _parse(
    documents: list[Document], words: Translations, report: ImportReport
) -> Iterator[tuple[str, SubjectManifest]]:
    for document in documents:
        try:
            manifest = SubjectManifest.parse(document.text).translated(words)
        except ManifestError as error:
            report.fail(document.where, None, str(error))
            continue
        candidate_id = manifest.candidate_id
        reason = refusal(candidate_id, candidate_id) or manifest.unknown_word()
        if reason is not None:
            report.fail(document.where, candidate_id, reason)
        else:
            yield document.where, manifest


def _at_home(
    parsed: Iterable[tuple[str, SubjectManifest]], layout: ChunkLayout, evidence: ManifestEvidence, now: dt.datetime
) -> Iterator[tuple[str, SubjectManifest]]:
    """The manifests with this store's audit log; another system's log is noted in addition, not taken over."""
    placed = [(where, manifest, layout.chunk_of(storage_key(manifest.candidate_id))) for where, manifest in parsed]
    told: dict[str, list[str]] = {}
    for _, manifest, chunk in placed:
        if manifest.audit_log_chain_root and manifest.audit_log_path == audit_log_path(chunk):
            told.setdefault(chunk, []).append(manifest.candidate_id)
    # A path like ours with a root that our log does not have comes from another store like this one.
    roots = {one: root for chunk, ids in told.items() for one, root in evidence.recorded(chunk).roots(ids).items()}
    for where, manifest, chunk in placed:
        path, root = audit_log_path(chunk), manifest.audit_log_chain_root
        changes: dict[str, Any] = {"audit_log_path": path, "audit_log_chain_root": "", "updated_at": now}
        ours = manifest.audit_log_path == path and root in {"", roots.get(manifest.candidate_id)}
        if not ours and (manifest.audit_log_path or root):
            # The first one stays: it is the other system's; later ones are stores like this one.
            foreign = {"path": manifest.audit_log_path, "chain_root": root}
            changes["imported_audit_log"] = (manifest.model_extra or {}).get("imported_audit_log", foreign)
        yield where, manifest.model_copy(update=changes)


def _import_batch(
    store: SubjectStore,
    layout: ChunkLayout,
    parsed: Iterator[tuple[str, SubjectManifest]],
    report: ImportReport,
    evidence: ManifestEvidence,
) -> None:
    latest: dict[str, tuple[str, SubjectManifest]] = {}
    for where, manifest in parsed:
        if manifest.candidate_id in latest:
            report.unchanged += 1  # the earlier one is overtaken before it was ever written
        latest[manifest.candidate_id] = (where, manifest)
    if not latest:
        return
    rows = to_rows((manifest for _, manifest in latest.values()), layout).with_columns(
        where=pl.Series([where for where, _ in latest.values()])
    )
    for part in _parts(store, rows) if evidence.open() else [rows]:
        _import_part(store, layout, part, report, evidence)


def _parts(store: SubjectStore, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows that are committed together: first new subjects, few of whom need a row, then the others chunk by chunk.

    So the log is never far ahead of the table.
    """
    chunks = rows["chunk"].unique().sort().to_list()
    known = ManifestTable(store).stored_ids(chunks)
    new = rows.join(known, on="storage_key", how="anti", maintain_order="left")
    if new.height:
        yield new
    there = rows.join(known, on="storage_key", how="semi", maintain_order="left")
    yield from there.partition_by("chunk", maintain_order=True)


def _import_part(
    store: SubjectStore, layout: ChunkLayout, rows: pl.DataFrame, report: ImportReport, evidence: ManifestEvidence
) -> None:
    job = _Import(store, rows, layout, evidence)
    try:
        failures = retrying(job.attempt)
    except StoreError as error:
        if job.recorded:
            raise incomplete("an import", error) from error
        raise
    report.inserted += len(job.inserted)
    report.replaced += len(job.replaced)
    report.unchanged += rows.height - len(job.inserted) - len(job.replaced) - len(failures)
    for failure in failures:
        report.fail(failure.where, failure.candidate_id, failure.reason)


@dataclass(slots=True)
class _Import:
    """Rows that are committed together, and what was done with them so far.

    Attributes:
        recorded: those of whom a row is in the log: they are inserted or replaced, whoever commits them.
    """

    store: SubjectStore
    rows: pl.DataFrame
    layout: ChunkLayout
    evidence: ManifestEvidence
    inserted: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)

    def attempt(self) -> list[ImportFailure]:
        """Decide against the latest version, record, and commit against it; the failures.

        Raises:
            ConflictError: another writer won: do it all again.
        """
        rows = self.rows
        chunks = rows["chunk"].unique().sort().to_list()
        snapshot = ManifestTable(self.store).snapshot_or_create()
        stored, astray = _stored(snapshot, chunks, rows)
        found = settled(self.evidence, self.layout, rows, stored) if self.evidence.open() else Settled(stored, {}, {})
        there = dict(zip(found.rows["storage_key"], _comparable(found.rows), strict=True))
        owners = dict(found.rows.select("storage_key", "candidate_id").iter_rows())
        self.inserted &= self.recorded
        self.replaced &= self.recorded
        wanted: list[int] = []
        failures: list[ImportFailure] = []
        lines = _comparable(rows)
        for at, (where, candidate_id, key) in enumerate(
            rows.select("where", "candidate_id", "storage_key").iter_rows()
        ):
            owner = owners.setdefault(key, candidate_id)
            if candidate_id in astray or key in astray:
                failures.append(ImportFailure(where, candidate_id, AMBIGUOUS))
            elif owner != candidate_id:
                failures.append(ImportFailure(where, candidate_id, collision_reason(candidate_id, owner, key)))
            elif (reason := found.reason(candidate_id)) is not None:
                failures.append(ImportFailure(where, candidate_id, reason))
            elif there.get(key) != lines[at] and candidate_id not in self.recorded:
                wanted.append(at)
                (self.replaced if key in there else self.inserted).add(candidate_id)
        ready = _later(rows[wanted].drop("where"), found)
        if self.evidence.open():
            ready, unrecordable = self._record(ready, found)
            where = dict(rows.select("candidate_id", "where").iter_rows())
            failures += [ImportFailure(where[one], one, reason) for one, reason in unrecordable.items()]
        # What was recorded before, by whomever, and is not in the table is committed with it.
        behind = found.behind - set(ready["candidate_id"])
        again = found.rows.filter(pl.col("candidate_id").is_in(list(behind)))
        if ready.height + again.height:
            snapshot.upsert(pl.concat([ready, again]))
        # Whoever was recorded and then turns out to be somebody else's is one failure, and nothing else.
        self.inserted -= {failure.candidate_id for failure in failures}
        self.replaced -= {failure.candidate_id for failure in failures}
        return failures

    def _record(self, rows: pl.DataFrame, found: Settled) -> tuple[pl.DataFrame, dict[str, str]]:
        """Record every change that needs a row: the rows to write, and why the others cannot be recorded."""
        unrecordable: dict[str, str] = {}
        roots = [found.roots.get(one, "") for one in rows["candidate_id"]]
        ready = rows.with_columns(audit_log_chain_root=pl.Series(roots, dtype=pl.String))
        known = found.rows.filter(pl.col("candidate_id").is_in(ready["candidate_id"].implode()))
        before = dict(zip(known["candidate_id"], _documents(known), strict=True))
        for part in ready.partition_by("chunk", maintain_order=True):
            changes = [
                Change(one, before.get(one), document, standing.last)
                for one, document in zip(part["candidate_id"], _documents(part), strict=True)
                if isinstance(standing := found.standings.get(one, Standing()), Standing)
            ]
            unrecordable |= {change.candidate_id: reason for change in changes if (reason := change.unrecordable)}
            fine = [change for change in changes if change.candidate_id not in unrecordable]
            self.evidence.record(part["chunk"][0], fine, into=self.recorded)
        return ready.filter(~pl.col("candidate_id").is_in(list(unrecordable))), unrecordable


def _stored(snapshot: Snapshot, chunks: list[str], rows: pl.DataFrame) -> tuple[pl.DataFrame, set[str | None]]:
    """The stored rows of these storage keys, and the ids and keys of rows that break the table's rules."""
    snapshot.own_files(chunks)
    every = snapshot.judged_rows(chunks)
    sound = pl.col(PROBLEM).is_null()
    broken = every.filter(~sound)
    stored = every.filter(sound).drop(PROBLEM).join(rows.select("storage_key"), on="storage_key", how="semi")
    return stored, {*broken["candidate_id"], *broken["storage_key"]}


def _later(rows: pl.DataFrame, found: Settled) -> pl.DataFrame:
    """The rows with an `updated_at` after the stored one, or after a deletion, even if a clock was ahead then."""
    since = {one: that.since for one, that in found.standings.items() if isinstance(that, Standing) and that.since}
    deleted = pl.DataFrame(
        {"candidate_id": list(since), "updated_at": [dt.datetime.fromisoformat(time) for time in since.values()]},
        schema={name: TABLE_SCHEMA[name] for name in ("candidate_id", "updated_at")},
    )
    earlier = pl.concat([found.rows.select(deleted.columns), deleted]).group_by("candidate_id").max()
    next_moment = pl.col("updated_at") + pl.duration(microseconds=1)
    after = earlier.select("candidate_id", after=pl.min_horizontal(next_moment, pl.lit(LAST_MOMENT)))
    later = rows.join(after, on="candidate_id", how="left", maintain_order="left")
    return later.with_columns(updated_at=pl.max_horizontal("updated_at", "after")).drop("after")


def _documents(rows: pl.DataFrame) -> list[Any]:
    """The JSON of each row's manifest; a newer writer's integers may be more than orjson holds."""
    plain = rows["extra"].is_null()
    return [
        orjson.loads(line) if fast else json.loads(line) for line, fast in zip(to_json_lines(rows), plain, strict=True)
    ]


def _comparable(rows: pl.DataFrame) -> list[str]:
    """Manifests as text, without the fields that depend only on the audit log and the time of writing."""
    # Any time will do, as long as it is the same one.
    return to_json_lines(rows.with_columns(pl.col("created_at").alias("updated_at"), audit_log_chain_root=pl.lit("")))
