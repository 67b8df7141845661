"""What becomes of candidates once the stored ids are known: new, already there, or in collision."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

import polars as pl

from subject_pipeline.candidates.candidates import CANDIDATE_SCHEMA, refusals
from subject_pipeline.candidates.columns import differ, hashes
from subject_pipeline.manifests.rows import PROBLEM

AMBIGUOUS = (
    "the table holds rows of this id or storage key that break its rules, so nothing was changed: see "
    "`subject-pipeline audit verify`, and restore the table"
)
"""Why a candidate is refused if the table leaves it open whether they are stored."""


def _nobody() -> pl.DataFrame:
    return pl.DataFrame(schema=CANDIDATE_SCHEMA)


@dataclass(frozen=True, slots=True)
class Decision:
    """Candidates divided by what is to be done with each; every candidate is in exactly one of the first three frames.

    Attributes:
        new: `CANDIDATE_SCHEMA`; to be inserted.
        known: `CANDIDATE_SCHEMA`; registered already, to be skipped.
        collided: `REFUSAL_SCHEMA`; the storage key belongs to another id, or the table leaves open whose it is; or the
            candidate was to be inserted or linked and could not be.
        linked: those known who have got a reference to the dataset.
        linkable: those known who would have, and have not for want of a key ring.
        suppressed: `CANDIDATE_SCHEMA`; erased, and so not registered again.
    """

    new: pl.DataFrame
    known: pl.DataFrame
    collided: pl.DataFrame
    linked: pl.DataFrame = field(default_factory=_nobody)
    linkable: pl.DataFrame = field(default_factory=_nobody)
    suppressed: pl.DataFrame = field(default_factory=_nobody)

    def not_writing(
        self, candidates: pl.DataFrame, reason: str, kind: Literal["refused", "not_written", "unknown"] = "not_written"
    ) -> "Decision":
        """The decision without these candidates, new or known, who are refused for a reason."""
        if candidates.is_empty():
            return self
        return replace(
            self,
            new=self.new.join(candidates, on="candidate_id", how="anti", maintain_order="left"),
            known=self.known.join(candidates, on="candidate_id", how="anti", maintain_order="left"),
            collided=pl.concat([self.collided, refusals(candidates, kind, reason)]),
        )

    def suppressing(self, candidate_ids: Collection[str]) -> "Decision":
        """The decision without these new candidates, who were erased."""
        if not candidate_ids:
            return self
        erased = pl.col("candidate_id").is_in(list(candidate_ids))
        return replace(self, new=self.new.filter(~erased), suppressed=self.new.filter(erased))


def collision_reason(candidate_id: str, owner: str, storage_key: str) -> str:
    """The sentence that names both ids of a collision."""
    return (
        f"storage key {storage_key!r} of {candidate_id!r} already belongs to {owner!r}; "
        "the first keeps it, nothing was changed"
    )


def decide(candidates: pl.DataFrame, stored: pl.DataFrame) -> Decision:
    """Divide candidates into new, known and collided.

    The owner of a storage key is the stored id, else the candidate that comes first in the source.

    Args:
        candidates: `CANDIDATE_SCHEMA` in source order, distinct by `candidate_id`, none refused.
        stored: `STORED_IDS_SCHEMA` of all chunks that the candidates fall into.
    """
    return _where_nothing_collides(candidates, stored) or _whatever_collides(candidates, stored)


def _where_nothing_collides(candidates: pl.DataFrame, stored: pl.DataFrame) -> Decision | None:
    """The decision by hashes of the storage keys, where no two are alike and no rule is broken; None: they are not so.

    Keys that are alike have hashes that are alike, so hashes that all differ need no sorting and no window; a match by
    hash counts only if both texts of the pair are alike too.
    """
    if stored[PROBLEM].null_count() < stored.height:
        return None
    if not (differ(candidates["storage_key"]) and differ(stored["storage_key"])):
        return None
    nobody = refusals(candidates.clear(), "collision", "")
    if stored.is_empty():
        return Decision(new=candidates, known=candidates.clear(), collided=nobody)
    there = stored.select(hash=hashes(stored["storage_key"]), key="storage_key", owner="candidate_id")
    found = candidates.select("storage_key", "candidate_id", hash=hashes(candidates["storage_key"])).join(
        there, on="hash", how="left", maintain_order="left"
    )
    if found.select(
        ((pl.col("storage_key") != pl.col("key")) | (pl.col("candidate_id") != pl.col("owner"))).any()
    ).item():
        return None
    new = found["key"].is_null()
    return Decision(new=candidates.filter(new), known=candidates.filter(~new), collided=nobody)


def _whatever_collides(candidates: pl.DataFrame, stored: pl.DataFrame) -> Decision:
    candidates, ambiguous = _told_apart(candidates, stored)
    owned = (
        candidates.lazy()
        .join(
            stored.lazy().filter(pl.col(PROBLEM).is_null()).select("storage_key", stored_id="candidate_id"),
            on="storage_key",
            how="left",
            maintain_order="left",
        )
        .with_columns(first=pl.col("candidate_id").first().over("storage_key"))
        .with_columns(owner=pl.coalesce("stored_id", "first"))
        .collect()
    )
    mine = pl.col("candidate_id") == pl.col("owner")
    there = pl.col("stored_id").is_not_null()
    collided = owned.filter(~mine)
    reasons = [
        collision_reason(row["candidate_id"], row["owner"], row["storage_key"])
        for row in collided.iter_rows(named=True)
    ]
    columns = candidates.columns
    return Decision(
        new=owned.filter(mine & ~there).select(columns),
        known=owned.filter(mine & there).select(columns),
        collided=pl.concat([refusals(collided, "collision", pl.Series(reasons, dtype=pl.String)), ambiguous]),
    )


def _told_apart(candidates: pl.DataFrame, stored: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Candidates for which the table says clearly whether they are stored, and refusals of the others."""
    broken = stored.filter(pl.col(PROBLEM).is_not_null())
    if broken.is_empty():
        return candidates, refusals(candidates.clear(), "refused", "")
    astray = pl.col("candidate_id").is_in(broken["candidate_id"].implode()) | pl.col("storage_key").is_in(
        broken["storage_key"].implode()
    )
    return candidates.filter(~astray), refusals(candidates.filter(astray), "refused", AMBIGUOUS)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a registration did; `attempted = inserted + skipped + failed`, always.

    Attributes:
        linked: of the skipped, those who have got a reference to the dataset.
        linkable: of the skipped, those who would have, and have not for want of a key ring.
        duplicates: rows of candidates who had one before.
        suppressed: rows of people who were erased.
    """

    inserted: int = 0
    skipped: int = 0
    failed: int = 0
    duplicates: int = 0
    linked: int = 0
    linkable: int = 0
    suppressed: int = 0

    @property
    def attempted(self) -> int:
        """Distinct candidates that were tried."""
        return self.inserted + self.skipped + self.failed

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.inserted + other.inserted,
            self.skipped + other.skipped,
            self.failed + other.failed,
            self.duplicates + other.duplicates,
            self.linked + other.linked,
            self.linkable + other.linkable,
            self.suppressed + other.suppressed,
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """One candidate that did not become a subject, and why."""

    candidate_id: str
    reason: str
    chunk: str
    kind: str
