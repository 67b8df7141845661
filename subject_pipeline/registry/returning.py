"""Registrations of people whom the audit log knows already: anyone who was deleted comes back by a row that says so."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from subject_pipeline.changes.evidence import Change, ManifestEvidence, dated
from subject_pipeline.changes.recorded import Standings
from subject_pipeline.changes.replaying import Standing
from subject_pipeline.errors import AuditLogError
from subject_pipeline.manifests.frames import to_manifest, to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore

_CHUNKS_AT_ONCE = 16


@dataclass(slots=True)
class Returning:
    """What may be inserted of some new rows.

    Attributes:
        rows: `TABLE_SCHEMA`: of those who are registered again as recorded, of everybody else as given.
        refused: candidate ids that may not be registered, by the reason.
        suppressed: those who were erased.
    """

    rows: pl.DataFrame
    refused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    suppressed: Collection[str] = ()


def returning(store: SubjectStore, evidence: ManifestEvidence, layout: ChunkLayout, rows: pl.DataFrame) -> Returning:
    """Record each registration of a subject that has a registry row; all others need none.

    What an earlier registration recorded and did not live to insert is inserted as it was recorded. Nobody is
    registered in a chunk whose log is damaged, since who comes back in it is not known, nor anybody whose manifest is
    gone and the log does not say why, nor anyone who was erased.

    Args:
        store: where the log is.
        evidence: records.
        layout: the store's chunks.
        rows: `TABLE_SCHEMA`, of people who have no manifest at the version that they will be inserted into.

    Raises:
        OvertakenError: somebody else has recorded a change of one of them meanwhile: decide again.
        StoreError: the store failed.
    """
    if not evidence.open():
        return Returning(rows)
    nobody = rows.clear()

    def look(part: pl.DataFrame) -> tuple[pl.DataFrame, set[str], Standings | AuditLogError]:
        try:
            recorded = evidence.recorded(str(part["chunk"][0]))
            known = recorded.among(part)["candidate_id"].to_list()
            erased = recorded.erased(known)
            return part, erased, recorded.standings(nobody, [one for one in known if one not in erased])
        except AuditLogError as error:
            return part, set(), error

    suppressed: set[str] = set()
    refused: dict[str, list[str]] = defaultdict(list)
    instead: dict[str, SubjectManifest] = {}
    parts = rows.partition_by("chunk", maintain_order=True)
    for part, erased, standings in overlapped(look, parts, at_once(store.objects, _CHUNKS_AT_ONCE)):
        if isinstance(standings, AuditLogError):
            refused[str(standings)] += part["candidate_id"].to_list()
            continue
        suppressed |= erased
        changes = []
        theirs = part.filter(pl.col("candidate_id").is_in(list(standings)))
        given = {row["candidate_id"]: row for row in theirs.iter_rows(named=True)}
        for candidate_id, standing in standings.items():
            if not isinstance(standing, Standing):
                refused[str(standing)].append(candidate_id)
            elif standing.document is not None:
                instead[candidate_id] = SubjectManifest.parse(dict(standing.document))
            else:
                instead[candidate_id] = dated(to_manifest(given[candidate_id]), None, standing)
                changes.append(Change(candidate_id, None, instead[candidate_id].as_json(), standing.last))
        evidence.record(str(part["chunk"][0]), changes, into=set())
    apart = [candidate_id for candidate_ids in refused.values() for candidate_id in candidate_ids]
    apart += [*instead, *suppressed]
    if not apart:
        return Returning(rows)
    others = rows.filter(~pl.col("candidate_id").is_in(apart))
    return Returning(pl.concat([others, to_rows(instead.values(), layout)]), refused, suppressed)
