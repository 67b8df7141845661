"""The opened store: ids and storage keys, chunks, the layout of all paths, declared datasets, the catalog.

An address comes in; out goes a store whose objects and catalog every later stage works on. Nothing here knows the
table of manifests or Polars, so a program that only records accesses stays light.
"""
