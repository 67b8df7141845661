"""Decisions that one commit of the table applies: judged, recorded chunk by chunk, and committed.

What is judged was read after the table's version was pinned; on any conflict it is all read and judged again, but for
what this run has recorded, and what it rejected before that.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from subject_pipeline.changes.anchored import LastCheckpoint
from subject_pipeline.changes.evidence import Change, ManifestEvidence, incomplete, moment_after
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.changes.settling import IDS, stored_rows
from subject_pipeline.decisions.decision import Decision
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.errors import ManifestError, StoreError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.judging import ADDED, ALREADY_APPLIED, APPLIED, SubjectState, Verdict, rejected
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_documents
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.manifests.usual_documents import document_rows
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import AMBIGUOUS
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore

CHUNKS_AT_ONCE = 16
"""Of a bucket, whose chains are looked at together."""
_AHEAD = dt.timedelta(minutes=5)

# Reasons name nobody: they are shown where no id may be.
_UNEXPLAINED = "the manifest is none that the audit log explains: see `subject-pipeline audit verify`"
_TAKEN = "another subject has got the storage key meanwhile, so nothing recorded can be applied: delete this one"


@dataclass(slots=True)
class _Subjects:
    """Some subjects of one chunk, as the table and the log had them at one time, and as they are to be.

    Attributes:
        states: by candidate id.
        broken: why nothing can be decided about somebody.
        gone: whom the table has although the log has them deleted.
        documents: the manifests that the table must get.
    """

    states: dict[str, SubjectState]
    broken: dict[str, str]
    gone: list[str]
    documents: dict[str, Document]


@dataclass(slots=True)
class DecisionGroup:
    """Decisions about the subjects of some chunks, which one commit of the table applies.

    Attributes:
        ours: what this run has recorded, as subject and decision id: applied, though a second look finds it recorded.
        refused: what was rejected before that, by chunk and place: a second look would judge it upon what came after.
    """

    store: SubjectStore
    layout: ChunkLayout
    evidence: ManifestEvidence
    policies: Policies
    decisions: Mapping[str, Sequence[Decision]]
    dry_run: bool
    ours: set[tuple[str, str]] = field(default_factory=set)
    refused: dict[tuple[str, int], Verdict] = field(default_factory=dict)

    def run(self) -> dict[str, list[Verdict]]:
        """What became of the decisions of each chunk, in order; raises as `Decisions.apply`."""
        try:
            return retrying(self._attempt)
        except StoreError as error:
            if self.ours:
                raise incomplete("what was decided", error) from error
            raise

    def _attempt(self) -> dict[str, list[Verdict]]:
        """Judge upon the latest version and the chains read after it, record, and commit against that version."""
        snapshot = ManifestTable(self.store).snapshot()
        ids = {
            chunk: list(dict.fromkeys(decision.candidate_id for decision in theirs))
            for chunk, theirs in self.decisions.items()
        }
        wanted = pl.DataFrame(
            [(chunk, storage_key(one), one) for chunk, theirs in ids.items() for one in theirs],
            schema=dict.fromkeys(IDS, pl.String),
            orient="row",
        )
        stored, astray = stored_rows(snapshot, wanted) if snapshot else (pl.DataFrame(schema=TABLE_SCHEMA), set())
        checkpoint = self.evidence.last_checkpoint()
        looks = overlapped(
            lambda one: self._look(*one, stored, astray, checkpoint),
            ids.items(),
            at_once(self.store.objects, CHUNKS_AT_ONCE),
        )
        found = dict(zip(ids, looks, strict=True))
        gone = [one for subjects in found.values() for one in subjects.gone]
        if snapshot is not None and gone and not self.dry_run:
            snapshot.delete(stored.filter(pl.col("candidate_id").is_in(gone)).select(IDS))
            return self._attempt()
        before = set(self.ours)
        verdicts = {chunk: self._decide(chunk, subjects, before) for chunk, subjects in found.items()}
        documents = [one for subjects in found.values() for one in subjects.documents.values()]
        if documents and not self.dry_run:
            rows = document_rows(documents, self.layout)
            (snapshot or ManifestTable(self.store).snapshot_or_create()).upsert(rows)
        return verdicts

    def _look(
        self,
        chunk: str,
        ids: Sequence[str],
        stored: pl.DataFrame,
        astray: Container[str | None],
        checkpoint: LastCheckpoint,
    ) -> _Subjects:
        """What table and log have of some subjects of a chunk.

        Args:
            chunk: whose.
            ids: theirs.
            stored: the table's rows of their storage keys, which other ids may have.
            astray: ids and keys of rows that break the table's rules.
            checkpoint: what they are compared with.
        """
        rows = stored.filter(pl.col("chunk") == chunk)
        documents, owners = to_documents(rows), dict(rows.select("storage_key", "candidate_id").iter_rows())
        recorded = self.evidence.recorded(chunk, checkpoint=checkpoint)
        standings, histories = recorded.standings_to_change(rows, ids), recorded.histories(ids)
        subjects = _Subjects({}, {}, [], {})
        for one in ids:
            document, standing = documents.get(one), standings.get(one, Standing())
            if one in astray or storage_key(one) in astray:
                subjects.broken[one] = AMBIGUOUS
            elif not isinstance(standing, Standing):
                subjects.broken[one] = _UNEXPLAINED
            elif standing.document is not None and owners.get(storage_key(one), one) != one:
                subjects.broken[one] = _TAKEN
            elif standing.behind:
                subjects.states[one] = SubjectState.of(standing.document, histories.get(one, ()))
                if standing.document is not None:
                    subjects.documents[one] = standing.document
                elif document is not None:
                    subjects.gone.append(one)
            elif isinstance(document, ManifestError):
                subjects.broken[one] = _UNEXPLAINED
            else:
                subjects.states[one] = SubjectState.of(document, histories.get(one, ()))
        return subjects

    def _decide(self, chunk: str, subjects: _Subjects, before: set[tuple[str, str]]) -> list[Verdict]:
        """Judge the decisions of a chunk in order and record them, those of one subject one after the other.

        Args:
            chunk: whose.
            subjects: as they are; changed to what they are to be.
            before: what an earlier attempt has recorded, which counts as applied once.
        """
        decisions = self.decisions[chunk]
        verdicts: dict[int, Verdict] = {}
        refused: dict[str, list[int]] = defaultdict(list)
        now = dt.datetime.now(dt.UTC)
        waiting = list(range(len(decisions)))
        while waiting:
            changes: dict[str, Change] = {}
            later: list[int] = []
            for at in waiting:
                decision = decisions[at]
                one = decision.candidate_id
                if one in changes:
                    later.append(at)
                    continue
                verdicts[at] = APPLIED
                found = self.refused.get((chunk, at)) or self._judged(decision, subjects, now)
                if isinstance(found, Change):
                    changes[one] = found
                elif found is ALREADY_APPLIED and (one, decision.decision_id) in before:
                    before.remove((one, decision.decision_id))
                else:
                    verdicts[at] = found
                    refused[one].append(at)
            try:
                self._record(chunk, changes, subjects)
            finally:
                self.refused |= {
                    (chunk, at): verdicts[at]
                    for one, change in changes.items()
                    if (one, (change.order or {})["decision_id"]) in self.ours
                    for at in refused.pop(one, ())
                }
            waiting = later
        return [verdicts[at] for at in range(len(decisions))]

    def _judged(self, decision: Decision, subjects: _Subjects, now: dt.datetime) -> Change | Verdict:
        """The change that a decision makes, or the verdict where it makes none."""
        one = decision.candidate_id
        if one in subjects.broken:
            return rejected(subjects.broken[one])
        state = subjects.states[one]
        found = state.judge(decision, self.policies, format_time(now + _AHEAD))
        if isinstance(found, Verdict):
            return found
        order = {**decision.order, "policies_sha256": self.policies.sha256}
        if found is None:
            return Change(one, None, None, state.last, order, state.since)
        before = state.document or {}
        found["updated_at"] = format_time(max(now, moment_after(str(before["updated_at"]))))
        change = Change(one, before, found, state.last, order)
        reason = change.unrecordable
        return change if reason is None else rejected(reason)

    def _record(self, chunk: str, changes: Mapping[str, Change], subjects: _Subjects) -> None:
        """Record one change of each of some subjects, and note them in their states."""
        seqs: dict[str, int] = {}
        into: set[str] = set()
        try:
            if not self.dry_run:
                seqs = self.evidence.record(chunk, list(changes.values()), into)
        finally:
            self.ours |= {(one, (changes[one].order or {})["decision_id"]) for one in into}
        for one, change in changes.items():
            state = subjects.states[one]
            state.document, state.last, state.erased = change.after, seqs.get(one, state.last), False
            state.note({name: value for name, value in (change.order or {}).items() if name not in ADDED})
            if change.after is not None:
                subjects.documents[one] = change.after
