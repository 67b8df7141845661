"""Candidates: the people of a dataset's source, before they are subjects.

A parquet source comes in, of which only the key column is read. Out go staged candidates: parts in the store that hold
whole chunks, and a record of them, from which people are registered.
"""
