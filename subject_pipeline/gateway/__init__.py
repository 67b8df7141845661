"""The gateway's hook: no answer about a person is released before the access is on record.

A tool call and its answer come in. The answer is released once the access is in the audit log, and withheld otherwise.
"""

from subject_pipeline.gateway.recording import AuditedTools

__all__ = ["AuditedTools"]
