"""One commit of an import: decided against the latest version of the table, recorded, and committed against it."""

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from subject_pipeline.changes.evidence import LAST_MOMENT, Change, ManifestEvidence
from subject_pipeline.changes.replaying import Standing
from subject_pipeline.changes.settling import Settled, settled, stored_rows
from subject_pipeline.decisions.decision import Kind
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_json_lines
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.deciding import AMBIGUOUS, collision_reason
from subject_pipeline.registry.imports.guards import import_refusal
from subject_pipeline.registry.outcomes import ImportFailure
from subject_pipeline.registry.suppressing import SUPPRESSED
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore


@dataclass(slots=True)
class ImportAttempt:
    """Rows that are committed together, and what was done with them so far.

    Attributes:
        four_eyes: the kinds of decisions that take them, and that no import makes.
        recorded: those of whom a row is in the log: they are inserted or replaced, no matter who commits them.
    """

    store: SubjectStore
    rows: pl.DataFrame
    layout: ChunkLayout
    evidence: ManifestEvidence
    four_eyes: frozenset[Kind]
    inserted: set[str] = field(default_factory=set)
    replaced: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)

    def attempt(self) -> list[ImportFailure]:
        """Decide against the latest version, record, and commit against it; the failures.

        Raises:
            ConflictError: another writer won: do it all again.
        """
        rows = self.rows
        snapshot = ManifestTable(self.store).snapshot_or_create()
        stored, astray = stored_rows(snapshot, rows)
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
            elif candidate_id in found.erased:
                failures.append(ImportFailure(where, candidate_id, SUPPRESSED))
            elif there.get(key) != lines[at] and candidate_id not in self.recorded:
                wanted.append(at)
                (self.replaced if key in there else self.inserted).add(candidate_id)
        ready, refused = self._guarded(_later(rows[wanted].drop("where"), found), found)
        if self.evidence.open():
            ready, unrecordable = self._record(ready, found)
            refused |= unrecordable
        if refused:
            where = dict(rows.select("candidate_id", "where").iter_rows())
            failures += [ImportFailure(where[one], one, reason) for one, reason in refused.items()]
        # What was recorded before, by whomever, and is not in the table is committed with it.
        behind = found.behind - set(ready["candidate_id"])
        again = found.rows.filter(pl.col("candidate_id").is_in(list(behind)))
        if ready.height + again.height:
            snapshot.upsert(pl.concat([ready, again]))
        # Anyone who was recorded and then turns out to be somebody else's is one failure, and nothing else.
        self.inserted -= {failure.candidate_id for failure in failures}
        self.replaced -= {failure.candidate_id for failure in failures}
        return failures

    def _guarded(self, rows: pl.DataFrame, found: Settled) -> tuple[pl.DataFrame, dict[str, str]]:
        """The rows that neither undo nor make a decision that they may not, and why the others may not be written.

        Few manifests have a decision to be undone; where some kinds take four eyes, every row is looked at.
        """
        guarded = pl.lit(bool(self.four_eyes)) | (pl.col("status") != "active") | pl.col("extra").is_not_null()
        there = found.rows.filter(guarded).join(rows.select("candidate_id"), on="candidate_id", how="semi")
        before = dict(zip(there["candidate_id"], _documents(there), strict=True))
        theirs = rows if self.four_eyes else rows.filter(pl.col("candidate_id").is_in(list(before)))
        refused = {
            one: reason
            for one, document in zip(theirs["candidate_id"], _documents(theirs), strict=True)
            if (reason := import_refusal(before.get(one), document, self.four_eyes)) is not None
        }
        return rows.filter(~pl.col("candidate_id").is_in(list(refused))), refused

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
