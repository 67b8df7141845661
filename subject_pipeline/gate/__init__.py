"""The gate: no answer about a person who may not be shown, and none that is not on record.

A tool call comes in, and its answer. `SubjectGate` decides before the call, from the manifests and a policy; records
what it decided; and gives back of the answer what may be shown. `AuditedTools` is the half that records alone.
"""

from subject_pipeline.errors import DeniedError, WithheldError
from subject_pipeline.gate.call import Permit, Told, event_id_of
from subject_pipeline.gate.gate import SubjectGate
from subject_pipeline.gate.judging import Reason
from subject_pipeline.gate.recording import AuditedTools

__all__ = ["AuditedTools", "DeniedError", "Permit", "Reason", "SubjectGate", "Told", "WithheldError", "event_id_of"]
