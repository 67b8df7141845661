"""People of some chunks, erased together: looked up, judged, recorded, and taken out by one commit.

It is longer than other files because the order of these four is what has to be reviewed.
"""

import datetime as dt
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from subject_pipeline.audit.events import ERASED
from subject_pipeline.candidates import staged_parts
from subject_pipeline.changes.evidence import Change, ManifestEvidence, incomplete
from subject_pipeline.changes.replaying import Document, Standing
from subject_pipeline.changes.settling import IDS, stored_rows
from subject_pipeline.decisions.decision import Decision, Kind, parse_decision
from subject_pipeline.decisions.retention import is_held
from subject_pipeline.decisions.transitions import is_ordered
from subject_pipeline.errors import AmbiguousSubjectError, ConflictError, ManifestError, StoreError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.decision_group import CHUNKS_AT_ONCE
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.snapshot import Snapshot
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.objects.retries import retrying
from subject_pipeline.registry.deciding import AMBIGUOUS
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline.store.opened import SubjectStore

ByChunk = Mapping[str, Sequence[str]]
"""Candidate ids, by the chunks that they belong to."""


class Order(NamedTuple):
    """What all orders of one call have in common; as in `Decision`."""

    actor: str
    reason: str | None = None
    evidence: str | None = None
    approved_by: str | None = None

    @classmethod
    def of(cls, actor: str, reason: str | None, evidence: str | None, approved_by: str | None) -> "Order":
        """The order that these texts make.

        Raises:
            DecisionError: one of them is not of its field's form.
        """
        given = {"actor": actor, "reason": reason, "evidence": evidence, "approved_by": approved_by}
        now = format_time(dt.datetime.now(dt.UTC))
        parse_decision({**given, "decision_id": "-", "candidate_id": "-", "kind": Kind.ERASURE_ORDERED, "ts": now})
        return cls(actor, *(text or None for text in (reason, evidence, approved_by)))

    def decision(self, candidate_id: str, now: str) -> Decision:
        """The order to erase somebody."""
        return Decision(secrets.token_hex(16), candidate_id, Kind.ERASURE_ORDERED, now, *self)

    def erasure(self, candidate_id: str, now: str) -> dict[str, Any]:
        """What the row of the erasure itself records of it."""
        return {**self.decision(candidate_id, now).order, "kind": ERASED}


@dataclass(slots=True)
class Erasure:
    """What an erasure did, or, of a dry run, what it would do now.

    Attributes:
        ordered: orders that were recorded now, held people's too.
        erased: people who were erased now.
        already: who had been erased before; whatever was left of them is gone now too.
        held: who is ordered to be erased, and is not while a legal hold stands.
        unknown: of whom there is no manifest; nothing was written for them.
        refused: why others were not erased.
    """

    ordered: int = 0
    erased: int = 0
    already: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nobody asked for is left."""
        return not (self.held or self.unknown or self.refused)


@dataclass(slots=True)
class _Found:
    """One subject as table and log had it at one time.

    Attributes:
        document: of the manifest as it must be what an erasure depends on; None: there is none.
        last: the seq of the last registry row.
        erased: the last registry row is an erasure.
        refused: why nothing can be decided about it; empty where it can.
    """

    document: Document | None = None
    last: int = -1
    erased: bool = False
    refused: str = ""


@dataclass(slots=True)
class Group:
    """People of some chunks, whom one commit takes out of the table.

    Attributes:
        refused: whose order was refused, and why.
        ours: whose erasure this run has recorded.
        outcomes: what became of each, by the names of `Erasure`'s attributes.
    """

    store: SubjectStore
    layout: ChunkLayout
    evidence: ManifestEvidence
    ids: ByChunk
    refused: dict[str, str] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)

    def look(self) -> tuple[Snapshot | None, dict[str, _Found], pl.DataFrame]:
        """The table's latest version, what it and the chains read after it have of each, and its rows of their keys."""
        snapshot = ManifestTable(self.store).snapshot()
        wanted = pl.DataFrame(
            [(chunk, storage_key(one), one) for chunk, theirs in self.ids.items() for one in theirs],
            schema=dict.fromkeys(IDS, pl.String),
            orient="row",
        )
        stored, astray = stored_rows(snapshot, wanted) if snapshot else (pl.DataFrame(schema=TABLE_SCHEMA), set())

        def chunk_of(chunk: str) -> dict[str, _Found]:
            theirs, rows = self.ids[chunk], stored.filter(pl.col("chunk") == chunk)
            documents, recorded = _briefly(rows), self.evidence.recorded(chunk)
            standings, erased = recorded.standings(rows, theirs), recorded.erased(theirs)
            told = {
                one: _Found(refused=AMBIGUOUS)
                if one in astray or storage_key(one) in astray
                else _found(documents.get(one), standings.get(one, Standing()), erased=one in erased)
                for one in theirs
            }
            # Who writes to the table, and has no key, must not have anybody erased.
            doubted = [
                one for one, that in told.items() if that.last < 0 and that.document and is_ordered(that.document)
            ]
            sure = recorded.anchored(rows.filter(pl.col("candidate_id").is_in(doubted)))
            return told | {one: _Found(refused=_IN_NO_ROW) for one in doubted if one not in sure}

        found: dict[str, _Found] = {}
        for one in overlapped(chunk_of, self.ids, at_once(self.store.objects, CHUNKS_AT_ONCE)):
            found |= one
        return snapshot, found, stored

    def judge(self, found: Mapping[str, _Found], ordered: Collection[str] = ()) -> list[str]:
        """Note what becomes of each, and give those who are to be erased now.

        Args:
            found: as `look` gives it.
            ordered: who would be ordered by now, in a dry run.
        """
        going = []
        for one, that in found.items():
            if that.refused:
                self.refused[one] = that.refused
                self.outcomes[one] = "refused"
            elif that.document is None:
                known = "erased" if one in self.ours else "already"
                self.outcomes[one] = known if that.erased else "unknown"
            elif not (is_ordered(that.document) or one in ordered):
                self.refused.setdefault(one, _CANCELLED)
                self.outcomes[one] = "refused"
            elif is_held(that.document):
                self.outcomes[one] = "held"
            else:
                self.outcomes[one] = "erased"
                going.append(one)
        return going

    def carry_out(self, order: Order, policies_sha256: str) -> None:
        """Record the erasure of everybody whose order stands and whom no hold keeps, then take them out.

        The rows are conditional: if a chain gained a registry row meanwhile, such as a hold, all is judged again.
        """

        def attempt() -> None:
            snapshot, found, stored = self.look()
            going = set(self.judge(found))
            keys = set(stored["storage_key"])  # where another id has the key, nobody can commit what is recorded
            self._check_committed(found, [one for one in going if storage_key(one) not in keys])
            now = format_time(dt.datetime.now(dt.UTC))
            about = {"policies_sha256": policies_sha256, "table_version": snapshot.version if snapshot else -1}
            for chunk, theirs in self.ids.items():
                changes = [
                    Change(one, that.document, None, that.last, {**order.erasure(one, now), **about})
                    for one in theirs
                    if one in going and (that := found[one])
                ]
                self.evidence.record(chunk, changes, into=self.ours)
            gone = [*going, *(one for one, what in self.outcomes.items() if what in {"already", "erased"})]
            if gone:
                staged_parts.forget(self.store.objects, self.layout, set(gone))
            rows = stored.filter(pl.col("candidate_id").is_in(gone))
            if snapshot is not None and rows.height:
                snapshot.delete(rows.select(IDS))

        try:
            retrying(attempt)
        except StoreError as error:
            if self.ours:
                raise incomplete("an erasure", error) from error
            raise

    def _check_committed(self, found: Mapping[str, _Found], absent: Collection[str]) -> None:
        """Commit what is recorded of those whom the table does not have yet, and decide again.

        Anyone who recorded it may be about to commit it. That must conflict with the erasure, and only a row that is
        there can be deleted.

        Raises:
            ConflictError: there were such.
        """
        if absent:
            manifests = [SubjectManifest.parse(dict(found[one].document or {})) for one in absent]
            ManifestTable(self.store).snapshot_or_create().upsert(to_rows(manifests, self.layout))
            raise ConflictError("what was recorded of people who are to be erased was not in the table yet")

    def tell(self, done: Erasure) -> None:
        """Add what became of each to a report."""
        done.erased += sum(what == "erased" for what in self.outcomes.values())
        for name, ids in (("already", done.already), ("held", done.held), ("unknown", done.unknown)):
            ids += [one for one, what in self.outcomes.items() if what == name]
        done.refused |= {one: self.refused[one] for one, what in self.outcomes.items() if what == "refused"}


def _briefly(rows: pl.DataFrame) -> dict[str, Document | ManifestError]:
    """What of each row's manifest an erasure depends on: when it was changed, status, order and holds."""
    found: dict[str, Document | ManifestError] = {}
    for one, changed, status, extra in rows.select("candidate_id", "updated_at", "status", "extra").iter_rows():
        try:
            found[one] = {"updated_at": format_time(changed), "status": status, **json.loads(extra or "{}")}
        except (ValueError, TypeError, AttributeError) as error:
            found[one] = ManifestError(f"the manifest of {one!r} is damaged: {error}")
    return found


def _found(
    document: Document | ManifestError | None, standing: Standing | AmbiguousSubjectError, *, erased: bool
) -> _Found:
    if isinstance(standing, AmbiguousSubjectError):
        # Anyone who was erased may be deleted from a table that was restored, whatever it has of them.
        return _Found(erased=True) if erased else _Found(refused=str(standing))
    if standing.behind:
        return _Found(standing.document, standing.last, erased)
    if isinstance(document, ManifestError):
        return _Found(refused=str(document))
    return _Found(document, standing.last, erased)


_IN_NO_ROW = (
    "its order is in no row of the log, as when it was imported, and the last checkpoint does not have this manifest: "
    "run `subject-pipeline audit checkpoint` first, or cancel the order and decide it again"
)
_CANCELLED = "its order was cancelled meanwhile, so it was not erased"
