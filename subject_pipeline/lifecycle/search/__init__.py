"""Searching the audit log: a query comes in; out go the rows that match, or their counts, as a table.

Nothing is verified, and memory does not grow with the log.
"""
