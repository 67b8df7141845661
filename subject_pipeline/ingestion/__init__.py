"""Ingestion: files of access events become rows of the audit log, each event once.

JSON lines and parquet files come in, from a path or the store's inbox. Out go rows, dead letters for what was refused,
and receipts of the files that are done. By the same way in, the index of what is there is made again from the log.
"""
