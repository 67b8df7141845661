"""The one tree of errors that this package raises.

A message says what was being done, to which object, what is wrong and how to fix it. Everything that a user
can cause ends in one of these, never in a bare `ValueError` or `KeyError`.
"""

from collections.abc import Mapping
from types import MappingProxyType


class SubjectPipelineError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        may_name: its text may name a person, or quote a value of theirs, so that nobody but a terminal and the store
            gets it. False only where it tells of settings and declarations.
    """

    may_name = True


class ConfigurationError(SubjectPipelineError):
    """A setting, a store URL or a layout that cannot be used as given."""

    may_name = False


class DatasetError(SubjectPipelineError):
    """A dataset's name or declaration is unknown, invalid or contradicted."""

    may_name = False


class SourceError(SubjectPipelineError):
    """A parquet source that cannot be read, or whose key column cannot form ids."""


class MissingSourceError(SourceError):
    """Nothing that can be read is where a dataset's declaration says that its source is."""

    may_name = False


class StagingError(SubjectPipelineError):
    """What was staged is missing or damaged, or was staged for other options."""

    may_name = False


class ManifestError(SubjectPipelineError):
    """Bytes or values that are not a subject manifest."""


class CollisionError(SubjectPipelineError):
    """Two different candidate ids share one storage key; the first one keeps it."""


class UnknownSubjectError(SubjectPipelineError):
    """No manifest carries the candidate id asked for."""


class UnknownThenError(UnknownSubjectError):
    """What a subject's manifest was at the time asked for is not known, or there was none."""


class UnknownFindingsError(SubjectPipelineError):
    """No list of findings is where it was looked for."""


class StoreError(SubjectPipelineError):
    """The object store or the table refused or failed an operation."""


class ConflictError(StoreError):
    """Another writer won a race; the operation wrote nothing and may be tried again."""


class OvertakenError(ConflictError):
    """Another change of the same subject was recorded first, so this one must be decided again."""


class VanishedFileError(ConflictError):
    """A file of the version being read is gone: vacuumed by another, or lost."""


class OutcomeUnknownError(StoreError):
    """A write was sent, and it is not known whether it was done."""


class IncompleteError(StoreError):
    """A part of the operation is done; running it again completes it."""


class AmbiguousSubjectError(StoreError):
    """The table holds rows that no honest writer makes, so what a subject's manifest is cannot be decided."""


class ResurrectedError(AmbiguousSubjectError):
    """The table has a manifest of somebody who is deleted according to the audit log; deleting it again is allowed."""


class CanonicalJsonError(SubjectPipelineError):
    """A value that JSON (RFC 8259) or I-JSON (RFC 7493) cannot hold, so it has no canonical form."""


class KeyRingError(ConfigurationError):
    """No key ring, or one that cannot be used as it is."""


class EventError(SubjectPipelineError):
    """An access event that cannot be recorded as given."""


class AuditLogError(StoreError):
    """Stored bytes of an audit log that are not what was written; appending to it is refused."""


class CheckpointError(SubjectPipelineError):
    """A checkpoint's note, roster or proof that is damaged or does not hold: they have hashes and numbers of people."""

    may_name = False


class WithheldError(SubjectPipelineError):
    """A tool's answer is withheld: it names somebody who may not be shown, cannot be examined, or is not on record."""


class DeniedError(WithheldError):
    """A tool may not be called: the purpose is not allowed, or none of the subjects may be shown for it.

    Attributes:
        reasons: why, by subject; empty where none were given.
        recorded: whether each of these denials is on record.
    """

    def __init__(
        self, message: str, reasons: Mapping[str, str] = MappingProxyType({}), *, recorded: bool = True
    ) -> None:
        super().__init__(message)
        self.reasons = dict(reasons)
        self.recorded = recorded


class DecisionError(SubjectPipelineError):
    """A decision that cannot be carried out as given: malformed, or not allowed."""


class PolicyError(ConfigurationError):
    """A policies file, or a rule in it, that cannot be used."""


class HeldError(SubjectPipelineError):
    """A legal hold keeps the subject from being deleted; nothing was written."""
