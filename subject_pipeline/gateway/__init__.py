"""The gateway's hook: no answer about a person goes out before the access to it is on record.

A tool call and its answer come in; the answer goes out once the access is in the audit log, and is withheld otherwise.
"""

from subject_pipeline.gateway.recording import AuditedTools

__all__ = ["AuditedTools"]
