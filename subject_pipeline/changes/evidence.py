"""Evidence: what the registry records in the audit log before it changes the table of manifests.

The log decides and the table follows. A change or a deletion of an existing manifest is recorded, with its content, and
so is a registration of somebody who was deleted according to the log; any other first registration needs no row.

The caller pins the table's version, then asks for the subjects' standing, records its change on condition that nobody
else has recorded one since, and commits against the pinned version. On any conflict it repeats all of this. So whatever
was recorded and not applied, by a writer that was killed in between, is applied by the next who touches the subject.
"""

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from subject_pipeline.audit.events import AccessEvent, evidence_event
from subject_pipeline.audit.group_commit import parts
from subject_pipeline.audit.index.writer import INDEX_AFTER_BYTES
from subject_pipeline.audit.row_form import is_decision
from subject_pipeline.audit.stored_segments import AuditSegments
from subject_pipeline.changes.anchored import LastCheckpoint
from subject_pipeline.changes.recorded import RecordedChunk
from subject_pipeline.changes.replaying import Document, Standing, changes_between
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import stored_policies
from subject_pipeline.errors import CanonicalJsonError, IncompleteError, KeyRingError, StoreError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.store.opened import SubjectStore

if TYPE_CHECKING:
    from subject_pipeline.audit.log import AuditLog

LAST_MOMENT = dt.datetime.max.replace(tzinfo=dt.UTC)

_MOST_BYTES = 1 << 20
"""Of one change, so that a segment never becomes larger than what is read of one."""


@dataclass(frozen=True)
class Change:
    """A change of one subject's manifest that is about to be recorded.

    Attributes:
        before: the manifest that it was decided on; None: there is none.
        after: the new manifest, `updated_at` included; None: it is deleted.
        last: the seq of the last registry row that the decision knew of; -1: none.
        order: what was ordered, as the row records it, with `kind`, `ts` and `actor`; None: the registry's own.
        since: where there is no manifest before, when it was deleted.
    """

    candidate_id: str
    before: Document | None
    after: Document | None
    last: int
    order: Mapping[str, Any] | None = None
    since: str = ""

    @cached_property
    def changes(self) -> dict[str, Any]:
        """What it sets, where it leaves a manifest."""
        return changes_between(self.before, self.after or {})

    @property
    def kind(self) -> str:
        """The decision's."""
        if self.order is not None:
            return str(self.order["kind"])
        return "deleted" if self.after is None else "replaced" if self.before is not None else "registered"

    @property
    def needs_row(self) -> bool:
        """A first registration needs none; one after a deletion does."""
        return self.before is not None or self.last >= 0

    @property
    def unrecordable(self) -> str | None:
        """Why no row can record this change; None where one can, or none is needed.

        Fields that this program does not know may hold any JSON, but no two programs write all fractions alike.
        """
        if self.after is None or not self.needs_row:
            return None
        changes = self.changes
        for name in self.after.keys() & changes.keys():
            if changes[name] is None:
                return f"its field {shown(name)!r} is null: leave it out"
        if not is_decision({"kind": self.kind, "changes": changes}):
            name = next(
                name for name in changes if not is_decision({"kind": self.kind, "changes": {name: changes[name]}})
            )
            return (
                f"its field {shown(name)!r} holds a number with a fraction or an exponent, or is nested too deeply: "
                "write it as a string"
            )
        try:
            size = len(canonical_json(changes))
        except CanonicalJsonError as error:
            return str(error)
        return None if size <= _MOST_BYTES else f"its change takes {size:,} bytes, and a row holds {_MOST_BYTES:,}"


def incomplete(what: str, error: StoreError) -> IncompleteError:
    """The error of a change that is recorded in the log, or begun in another way, and not in the table."""
    return IncompleteError(f"{what} was begun and is not done: run it again to complete it. {error}")


def dated(manifest: SubjectManifest, before: Document | None, standing: Standing) -> SubjectManifest:
    """The manifest with an `updated_at` after that of the one before, or of a deletion: some clock may be ahead."""
    since = standing.since if before is None else str(before["updated_at"])
    return (
        manifest
        if not since
        else manifest.model_copy(update={"updated_at": max(manifest.updated_at, moment_after(since))})
    )


class ManifestEvidence:
    """Records changes of manifests once the store has, or can have, an audit log."""

    def __init__(self, store: SubjectStore, actor: str) -> None:
        self._store = store
        self._actor = actor
        self._log: AuditLog | None = None

    @property
    def configured(self) -> bool:
        """Whether there is a key ring, so that changes will be recorded."""
        return self._store.ring.configured

    def open(self) -> bool:
        """Whether changes must be recorded: yes, once there is a key ring; no in a store that never had a log.

        Raises:
            KeyRingError: the store has an audit log, and there is no key ring to write it with.
            CheckpointError: the store's layout contradicts what is signed.
            StoreError: the store failed.
        """
        if self._store.ring.configured:
            self._store.ring.ring()
            if self._log is None:
                self._log = open_audit_log(self._store)
                if self._store.layout() is not None:
                    _ = self._log.layout  # refused now if it is forged, before anything is placed by it
            return True
        if AuditSegments(self._store.objects).exist():
            raise KeyRingError(
                "this store has an audit log, in which a change of a manifest must be recorded first: set "
                "SUBJECT_KEY_RING to its key ring"
            )
        return False

    def policies(self) -> Policies:
        """The stored policies, which say what words manifests may hold, and what takes four eyes.

        Raises:
            KeyRingError: policies are stored, and there is no usable key ring to check them with.
            PolicyError: they cannot be used.
            StoreError: the store failed.
        """
        return stored_policies(self._store)

    def last_checkpoint(self) -> LastCheckpoint:
        """The store's last checkpoint, for anyone who looks at many chunks at one time."""
        return LastCheckpoint(self._store)

    def recorded(self, chunk: str, *, past_end: bool = True, checkpoint: LastCheckpoint | None = None) -> RecordedChunk:
        """What the log says now of a chunk's manifests; ask for it after the table's version was pinned.

        Args:
            chunk: its name.
            past_end: as in `ChunkState.load`.
            checkpoint: what it is compared with; None: the last one, read when it is needed.

        Raises:
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        log = (self._log.segments, self._log.chunk_state(chunk, past_end=past_end)) if self._log else None
        return RecordedChunk(checkpoint or self.last_checkpoint(), log)

    def record(self, chunk: str, changes: Sequence[Change], into: set[str]) -> dict[str, int]:
        """Append a row for each change that needs one; on disk when this returns.

        Returns:
            The seq of each subject's row.

        Args:
            chunk: that of all these subjects.
            changes: what is about to be committed, one of a subject; none of them unrecordable.
            into: gains everyone who has a row now, also where a part of the rows is on disk and then this raises.

        Raises:
            OvertakenError: somebody else has recorded a change of one of them since: decide again.
            AuditLogError: the log is damaged.
            StoreError: the store failed.
        """
        wanted = [change for change in changes if change.needs_row]
        seqs: dict[str, int] = {}
        if self._log is None or not wanted:
            return seqs
        now = self._log.now()
        events = [self._event(change, now) for change in wanted]
        after = {change.candidate_id: change.last for change in wanted}
        for part, _ in parts(events):
            done = self._log.append_to(chunk, part, unique=True, after=after)
            into.update(event.candidate_id for event in part)
            seqs.update(zip((event.candidate_id for event in part), (row.seq for row in done), strict=True))
        return seqs

    def close(self, *, index: bool = False) -> None:
        """Finish what the log's writer does in the background.

        Args:
            index: index all that was recorded, however little, so that nobody reads the log for it again.
        """
        if self._log is not None:
            self._log.close(index_after_bytes=0 if index else INDEX_AFTER_BYTES)

    def _event(self, change: Change, now: str) -> AccessEvent:
        order = change.order or {"kind": change.kind}
        decision: dict[str, Any] = dict(order)
        if change.after is None:
            before = change.since if change.before is None else str(change.before["updated_at"])
            decision["recorded_at"] = max(now, format_time(moment_after(before)))
        else:
            decision["recorded_at"] = change.after["updated_at"]
            decision["changes"] = change.changes
        return evidence_event(
            candidate_id=change.candidate_id,
            event_id=secrets.token_hex(16),
            ts=order.get("ts", now),
            actor=order.get("actor", self._actor),
            manifest_sha256=None if change.after is None else document_hash(change.after),
            decision=decision,
        )


def moment_after(time: str) -> dt.datetime:
    """A microsecond later than a time in the store's form; of the last moment that there is, itself."""
    moment = dt.datetime.fromisoformat(time)
    return moment if moment == LAST_MOMENT else moment + dt.timedelta(microseconds=1)
