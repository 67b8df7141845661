"""The life of a record: decisions applied, reviews worked off, people erased, and what a person may ask for.

Decisions and requests come in, one at a time or in files. Each is recorded in the subject's chain before the manifest
changes; out go changed manifests, dead letters of what was refused, certificates of erasures, histories and dossiers.
"""
