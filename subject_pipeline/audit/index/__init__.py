"""The audit index: what a writer must know of the log without reading it.

Rows that were appended come in. Out go records of fixed width under a MAC, in the store's `audit_index/`: the last row
of a subject, the events that are recorded already. It is derived, so it can be lost, and a reader that disbelieves it
reads the log.
"""
