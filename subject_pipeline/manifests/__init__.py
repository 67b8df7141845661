"""Manifests: the record of one subject, as a document, as a row and as a hash.

Documents and columns of rows come in; out go versions of one Delta table, each read as rows that keep the table's rules
or are reported as ambiguous.
"""
