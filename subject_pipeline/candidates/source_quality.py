"""Is a source fit to be staged: looked at before anything is written, beside what was staged last."""

from dataclasses import dataclass

from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.candidates.staged import StagedCandidates
from subject_pipeline.store.datasets import DatasetDeclaration


@dataclass(frozen=True, slots=True)
class SourceQuality:
    """What was found.

    Attributes:
        rows: of the whole source.
        read: how many of them were looked at.
        null: rows without a key, of those that were read.
        repeated: rows whose key an earlier row has, of those that were read.
        key_type: the key column's type, as Arrow names it.
        staged_rows: what the source had when it was last staged; None: it is not known.
        staged_type: the key column's type then; None: it is not known.
    """

    rows: int
    read: int
    null: int
    repeated: int
    key_type: str
    staged_rows: int | None
    staged_type: str | None

    @property
    def dropped(self) -> float:
        """The share of the rows of the last staging that the source has no more; 0 where it has as many or more."""
        return max(0.0, 1 - self.rows / self.staged_rows) if self.staged_rows else 0.0

    @property
    def type_changed(self) -> bool:
        """Whether the key column has another type than when it was last staged."""
        return self.staged_type is not None and self.staged_type != self.key_type


def examine_source(
    declaration: DatasetDeclaration, staged: StagedCandidates | None, *, limit: int | None
) -> SourceQuality:
    """Look at a source; its key column is read once, and nothing is written.

    Args:
        declaration: the dataset.
        staged: what was staged last; None: nothing.
        limit: read at most so many rows; None: all.

    Raises:
        SourceError: the source cannot be read, or the key column cannot form ids.
    """
    keys = SourceKeys(find_source_files(declaration.source), declaration.key_column)
    found = keys.quality(limit)
    return SourceQuality(
        rows=keys.total_rows,
        read=keys.total_rows if limit is None else min(limit, keys.total_rows),
        null=found.null,
        repeated=found.repeated,
        key_type=keys.key_type,
        staged_rows=staged.source_rows if staged else None,
        staged_type=(staged.key_type or None) if staged else None,
    )
