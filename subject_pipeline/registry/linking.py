"""Linking: people of a dataset who have a manifest from elsewhere get a reference to the dataset, recorded first.

One commit of the table for the chunks that memory holds at once, and one segment of a chunk's log before it. Killed
anywhere, it is completed by running it again: whom the table lacks the reference of is looked for in the log.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import polars as pl

from subject_pipeline.audit.segment import MAX_ROWS
from subject_pipeline.candidates.columns import chunk_name_expr
from subject_pipeline.candidates.staged import ROWS_PER_GROUP, StagedCandidates
from subject_pipeline.changes.evidence import LAST_MOMENT, Change, ManifestEvidence, moment_after
from subject_pipeline.changes.recorded import Standings
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.changes.settling import stored_rows
from subject_pipeline.decisions.links import DatasetLink
from subject_pipeline.errors import AuditLogError, ManifestError, OutcomeUnknownError, StoreError
from subject_pipeline.manifests.frames import IS_PLAIN, to_documents, to_json_lines, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.rows import REFERS, refers_to
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import AMBIGUOUS
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore

_CHUNKS_AT_ONCE = 16
_LARGE = 1 << 16
"""Bytes of a manifest from which on it is asked whether a row can hold its change: columns hold nothing else amiss."""

Reason = tuple[Literal["refused", "not_written", "unknown"], str]


@dataclass(frozen=True, slots=True)
class Linked:
    """What became of people who were to be linked; anyone in neither was linked, or deleted, by another meanwhile.

    Attributes:
        linked: candidate ids of those who have got a reference.
        failed: candidate ids of those who could not get one, by the reason.
    """

    linked: set[str] = field(default_factory=set)
    failed: dict[Reason, list[str]] = field(default_factory=lambda: defaultdict(list))


def unlinked(known: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Those among registered candidates whose manifest does not refer to the dataset.

    Args:
        known: `CANDIDATE_SCHEMA`.
        stored: `STORED_IDS_SCHEMA` and `refers`.
    """
    without = stored.filter(~pl.col(REFERS))
    if without.is_empty():
        return known.clear()
    return known.join(without, on=["storage_key", "candidate_id"], how="semi", maintain_order="left")


def link(
    store: SubjectStore,
    evidence: ManifestEvidence,
    layout: ChunkLayout,
    staged: StagedCandidates,
    candidates: pl.DataFrame,
) -> Linked:
    """Give subjects a reference to the dataset that names them, and its safe views; each is linked once, by whomever.

    Anyone who is restricted, or is to be erased, gets the reference alone. Nobody is linked who is deleted by the log.

    Args:
        store: where log and table are.
        evidence: opened; it records.
        layout: the store's chunks.
        staged: what the dataset is.
        candidates: `CANDIDATE_SCHEMA`, each with a manifest.
    """
    wanted = candidates.select("storage_key", "candidate_id", "key_value", chunk=chunk_name_expr(layout, "chunk_index"))
    done = Linked()
    try:
        groups = ManifestTable(store).bounded(wanted["chunk"].unique().to_list(), ROWS_PER_GROUP)
    except StoreError as error:
        done.failed["not_written", str(error)] += wanted["candidate_id"].to_list()
        return done
    dataset = DatasetLink(staged.dataset, staged.key_column, staged.safe_views)
    for chunks in groups:
        job = _Links(store, evidence, layout, dataset, wanted.filter(pl.col("chunk").is_in(chunks)))
        try:
            retrying(job.attempt)
        except StoreError as error:
            unknown = isinstance(error, OutcomeUnknownError)
            for one in job.wanted["candidate_id"]:
                if one in job.recorded:
                    done.failed["not_written", f"recorded and not in the table, a re-run settles it: {error}"] += [one]
                else:
                    done.failed["unknown" if unknown else "not_written", str(error)] += [one]
        else:
            done.linked.update(job.recorded - job.failed.keys())
            for one, reason in job.failed.items():
                done.failed[reason] += [one]
    return done


@dataclass(slots=True)
class _Links:
    """People whom one commit of the table links.

    Attributes:
        wanted: columns `chunk`, `storage_key`, `candidate_id` and `key_value`.
        recorded: those who have a row of ours in the log: linked, no matter who commits it.
        failed: why somebody is not linked, as of the last attempt.
    """

    store: SubjectStore
    evidence: ManifestEvidence
    layout: ChunkLayout
    dataset: DatasetLink
    wanted: pl.DataFrame
    recorded: set[str] = field(default_factory=set)
    failed: dict[str, Reason] = field(default_factory=dict)

    def attempt(self) -> None:
        """Look at the latest version and at the log after it, record, and commit against that version.

        Raises:
            ConflictError: another writer won: do it all again.
            StoreError: the store failed.
        """
        self.failed.clear()
        snapshot = ManifestTable(self.store).snapshot_or_create()
        stored, astray = stored_rows(snapshot, self.wanted)
        stored = stored.join(self.wanted.select("candidate_id"), on="candidate_id", how="semi", maintain_order="left")

        checkpoint = self.evidence.last_checkpoint()

        def look(part: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Standings | AuditLogError]:
            chunk = str(part["chunk"][0])
            rows = stored.filter(pl.col("chunk") == chunk)
            try:
                recorded = self.evidence.recorded(chunk, checkpoint=checkpoint)
                return part, rows, recorded.standings_to_change(rows, part["candidate_id"].to_list())
            except AuditLogError as error:
                return part, rows, error

        ready = [stored.clear()]
        parts = self.wanted.partition_by("chunk", maintain_order=True)
        for part, rows, standings in overlapped(look, parts, at_once(self.store.objects, _CHUNKS_AT_ONCE)):
            for people in part.iter_slices(MAX_ROWS):
                try:
                    if isinstance(standings, AuditLogError):
                        raise standings
                    ready.append(self._recorded(people, rows, standings, astray))
                except AuditLogError as error:
                    self.failed |= dict.fromkeys(people["candidate_id"], ("not_written", str(error)))
        if any(rows.height for rows in ready):
            snapshot.upsert(pl.concat(ready))

    def _recorded(
        self, people: pl.DataFrame, stored: pl.DataFrame, standings: Standings, astray: set[str | None]
    ) -> pl.DataFrame:
        """Record the links of some people of one chunk; the rows that the table must get, `TABLE_SCHEMA`."""
        ids = people["candidate_id"].to_list()
        for one, key in people.select("candidate_id", "storage_key").iter_rows():
            standing = standings.get(one, Standing())
            if one in astray or key in astray:
                self.failed[one] = "refused", AMBIGUOUS
            elif not isinstance(standing, Standing):
                self.failed[one] = "refused", str(standing)
        behind = {
            one: standing.document
            for one in ids
            if isinstance(standing := standings.get(one, Standing()), Standing)
            and standing.behind
            and one not in self.failed
        }
        key_values = people.select("candidate_id", "key_value")
        rows = stored.filter(~pl.col("candidate_id").is_in([*behind, *self.failed])).join(
            key_values, on="candidate_id", maintain_order="right"
        )
        plain = rows.filter(IS_PLAIN, ~refers_to(self.dataset.name))
        others: dict[str, Any] = {**to_documents(rows.filter(~IS_PLAIN)), **behind}
        changes, manifests = self._others(others, dict(key_values.iter_rows()), set(behind), standings)
        after = pl.min_horizontal(pl.col("updated_at") + pl.duration(microseconds=1), pl.lit(LAST_MOMENT))
        linked = self.dataset.rows(plain, pl.max_horizontal(pl.lit(_now()), after))
        texts = to_json_lines(plain), to_json_lines(linked)
        for one, key_value, old, new in zip(plain["candidate_id"], plain["key_value"], *texts, strict=True):
            change = self._change(one, key_value, orjson.loads(old), orjson.loads(new), standings)
            if len(new) > _LARGE and (reason := change.unrecordable) is not None:
                self.failed[one] = "refused", reason
            else:
                changes.append(change)
        self.evidence.record(str(people["chunk"][0]), changes, into=self.recorded)
        return pl.concat(
            [to_rows(manifests, self.layout), linked.filter(~pl.col("candidate_id").is_in([*self.failed]))]
        )

    def _others(
        self,
        documents: Mapping[str, Document | ManifestError | None],
        key_values: Mapping[str, str],
        behind: set[str],
        standings: Standings,
    ) -> tuple[list[Change], list[SubjectManifest]]:
        """The changes of people whose manifest no columns hold, or whom the table has otherwise than the log.

        Returns:
            The changes, and the manifests that the table must get: also what others recorded and did not live to apply.
        """
        changes: list[Change] = []
        manifests: list[Document] = []
        for one, document in documents.items():
            if isinstance(document, ManifestError):
                self.failed[one] = "refused", str(document)
            elif document is not None:
                change = None
                if not self.dataset.is_in(document):
                    when = max(_now(), moment_after(document["updated_at"]))
                    after = self.dataset.document(document, key_values[one], when)
                    change = self._change(one, key_values[one], document, after, standings)
                    if (reason := change.unrecordable) is not None:
                        self.failed[one] = "refused", reason
                        change = None
                if change is not None and change.after is not None:
                    changes.append(change)
                    manifests.append(change.after)
                elif one in behind:
                    manifests.append(document)
        return changes, [SubjectManifest.parse(dict(document)) for document in manifests]

    def _change(self, one: str, key_value: str, before: Document, after: Document, standings: Standings) -> Change:
        standing = standings.get(one, Standing())
        last = standing.last if isinstance(standing, Standing) else -1
        return Change(one, before, after, last, self.dataset.order(key_value))


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
