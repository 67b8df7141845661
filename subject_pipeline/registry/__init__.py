"""The registry: who is a subject, decided and written in bulk or one at a time.

Staged candidates, documents and single manifests come in. Out go commits of the table, each recorded in the audit log
first where the log must know of it, and counts in which every candidate is found once.
"""
