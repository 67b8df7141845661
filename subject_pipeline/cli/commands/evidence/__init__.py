"""The commands of the audit log: append, ingest, show, verify, checkpoint, prove."""
