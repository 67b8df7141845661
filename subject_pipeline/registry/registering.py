"""Registration: staged candidates become manifests, idempotently, chunk group by chunk group."""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import polars as pl

from subject_pipeline.candidates.candidates import distinct, refusals, split_refused
from subject_pipeline.candidates.staged import ChunkGroup, StagedCandidates
from subject_pipeline.candidates.staged_parts import read_group, read_record
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import OutcomeUnknownError, StagingError, StoreError
from subject_pipeline.manifests.frames import new_rows
from subject_pipeline.manifests.rows import PROBLEM, STORED_IDS_SCHEMA
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import Counts, Decision, decide
from subject_pipeline.registry.linking import link, unlinked
from subject_pipeline.registry.outcomes import ChunkOutcome, Registration, outcomes_of, with_earlier
from subject_pipeline.registry.returning import returning
from subject_pipeline.registry.vanished import Reconciliation, reconciled
from subject_pipeline.settings import system_user
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore

# A MERGE keeps two cores busy by itself; two at once took as long, half a GiB more, and raced on an empty table.


def register_dataset(
    store: SubjectStore,
    dataset: str,
    *,
    limit: int | None,
    chunks: Sequence[str],
    declared: DatasetDeclaration | None = None,
    evidence: ManifestEvidence | None = None,
) -> Registration:
    """Register what is staged for a dataset, in some chunks.

    Args:
        store: where the candidates are staged and manifests are kept.
        dataset: the dataset's name.
        limit: what the staging must have been made with; None: all rows.
        chunks: the chunks' names.
        declared: what the dataset is declared as now, which the staging must agree with; None: as it was staged.
        evidence: records who comes back after a deletion, and who is linked; None: as the system user. In a store
            without a key ring nobody is linked, and nobody is registered once it has an audit log.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring.
        StagingError: nothing is staged, or it was staged for something else than is asked.
        ConfigurationError: the layout does not have these chunks.
        StoreError: the store failed.
    """
    layout = store.layout_or_create()
    earlier: dict[str, Counts] = {}
    while True:
        staged = read_record(store.objects, dataset)
        staged.check_options(limit, declared)
        layout.check_wanted(staged.chunk_count)
        done = Registration()
        try:
            register_staged(store, staged, chunks=chunks, into=done, evidence=evidence)
        except StagingError:
            # Staged again while this run was reading: what is staged now serves as well.
            if read_record(store.objects, dataset) == staged:
                raise
            for outcome in done.outcomes:
                earlier[outcome.chunk] = earlier.get(outcome.chunk, Counts()) + outcome.counts
        else:
            done.outcomes = [with_earlier(outcome, earlier.get(outcome.chunk, Counts())) for outcome in done.outcomes]
            return done


def register_staged(
    store: SubjectStore,
    staged: StagedCandidates,
    *,
    chunks: Sequence[str] | None = None,
    into: Registration | None = None,
    advance: Callable[[Registration], None] = lambda _: None,
    evidence: ManifestEvidence | None = None,
) -> Registration:
    """Give every staged candidate a manifest, unless it has one; then it gets at most a reference to the dataset.

    One bad candidate, or a chunk group that the store refuses, does not stop the others. When interrupted, commits
    under way are finished first, and `into` holds what is done.

    Args:
        store: where manifests are kept.
        staged: what to register.
        chunks: register these chunks alone; None: all.
        into: filled as chunk groups are done.
        advance: called after each chunk group.
        evidence: as in `register_dataset`.

    Raises:
        KeyRingError: there is an audit log, and no usable key ring.
        StagingError: a staged part is gone.
        StoreError: a staged part could not be read; all other chunk groups were done before this is raised.
    """
    layout = ChunkLayout(staged.chunk_count)
    wanted = range(layout.count) if chunks is None else layout.indices(chunks)
    result = into if into is not None else Registration()
    evidence = evidence or ManifestEvidence(store, system_user())
    job = _Job(store, staged, layout, evidence, evidence.open(), dt.datetime.now(dt.UTC))
    work = [
        (group, mine)
        for group in staged.groups
        if (mine := [index for index in wanted if group.first <= index <= group.last])
    ]
    unread: list[StoreError] = []
    # In a thread of its own a commit goes on where this one is interrupted, and what came of it is still counted.
    with ThreadPoolExecutor(1) as pool:
        for item in work:
            going = pool.submit(job.register, *item)
            try:
                result.take(*going.result())
            except StoreError as error:
                unread.append(error)
            except BaseException:
                if going.exception() is None:
                    result.take(*going.result())
                raise
            advance(result)
    result.outcomes.sort(key=lambda outcome: outcome.chunk)
    if unread:
        raise unread[0]
    return result


@dataclass(frozen=True, slots=True)
class _Job:
    """A registration.

    Attributes:
        recording: changes of manifests are recorded in the audit log; else nobody is linked.
    """

    store: SubjectStore
    staged: StagedCandidates
    layout: ChunkLayout
    evidence: ManifestEvidence
    recording: bool
    now: dt.datetime

    def register(self, group: ChunkGroup, indices: list[int]) -> tuple[list[ChunkOutcome], Reconciliation | None]:
        started = time.perf_counter()
        whole = len(indices) == group.last - group.first + 1
        rows = read_group(self.store.objects, group, None if whole else indices)
        unique = distinct(rows)
        accepted, refused = split_refused(unique)
        decision: Decision | None = None
        beside: Reconciliation | None = None
        try:
            decision, beside = self._commit(accepted, [self.layout.names[index] for index in indices])
            failed = pl.concat([decision.collided, refused])
        except OutcomeUnknownError as error:
            reason = f"cannot tell whether it was written, a re-run settles it: {error}"
            failed = pl.concat([refused, refusals(accepted, "unknown", reason)])
        except StoreError as error:
            failed = pl.concat([refused, refusals(accepted, "not_written", f"not written: {error}")])
        seconds = time.perf_counter() - started
        return outcomes_of(self.layout, indices, rows, unique, decision, failed, seconds=seconds), beside

    def _commit(self, accepted: pl.DataFrame, chunks: list[str]) -> tuple[Decision, Reconciliation]:
        """Decide against the latest version and commit against it; on a lost race, both again. Then link."""

        def attempt() -> tuple[Decision, pl.DataFrame]:
            snapshot = ManifestTable(self.store).snapshot_or_create()
            stored = snapshot.stored_ids(chunks, self.staged.dataset)
            decision = decide(accepted, stored)
            if decision.new.is_empty():
                return decision, stored
            returned = returning(self.store, self.evidence, self.layout, self._rows(decision.new))
            for reason, candidate_ids in returned.refused.items():
                refused = pl.col("candidate_id").is_in(candidate_ids)
                decision = decision.not_writing(decision.new.filter(refused), f"not written: {reason}")
            decision = decision.suppressing(returned.suppressed)
            if not returned.rows.is_empty():
                snapshot.insert(returned.rows)
            return decision, stored

        decision, stored = retrying(attempt)
        lacking = unlinked(decision.known, stored)
        beside = reconciled(stored, decision.known.height - lacking.height)
        return self._linked(self._confirmed(decision, chunks), lacking), beside

    def _linked(self, decision: Decision, lacking: pl.DataFrame) -> Decision:
        """The decision, and those without a reference to the dataset linked as far as that is asked and possible."""
        if lacking.is_empty() or not self.staged.link:
            return decision
        if not self.recording:
            return replace(decision, linkable=lacking)
        done = link(self.store, self.evidence, self.layout, self.staged, lacking)
        for (kind, reason), candidate_ids in done.failed.items():
            theirs = lacking.filter(pl.col("candidate_id").is_in(candidate_ids))
            decision = decision.not_writing(theirs, f"registered, but not linked to this dataset: {reason}", kind)
        return replace(decision, linked=lacking.filter(pl.col("candidate_id").is_in(list(done.linked))))

    def _rows(self, new: pl.DataFrame) -> pl.DataFrame:
        return new_rows(
            new,
            layout=self.layout,
            dataset=self.staged.dataset,
            key_column=self.staged.key_column,
            safe_views=self.staged.safe_views,
            now=self.now,
        )

    def _confirmed(self, decision: Decision, chunks: list[str]) -> Decision:
        """Read back what was inserted: a candidate counts as inserted only if the table says so."""
        if decision.new.is_empty():
            return decision
        try:
            stored = (
                ManifestTable(self.store)
                .read(lambda snapshot: snapshot.stored_ids(chunks), pl.DataFrame(schema=STORED_IDS_SCHEMA))
                .filter(pl.col(PROBLEM).is_null())
            )
        except StoreError as error:
            raise OutcomeUnknownError(f"committed, but it could not be read back: {error}") from error
        missing = decision.new.join(stored, on=["storage_key", "candidate_id"], how="anti")
        return decision.not_writing(missing, "committed, but gone when read back: another writer removed it; run again")
