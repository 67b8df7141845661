"""Data versions: what Dagster compares to see whether everything downstream of an asset is up to date.

Dagster takes one version for each asset and run, so only assets without partitions have their own. A partitioned one
has the version that Dagster derives: of its `code_version` and of what it was made from.
"""

import hashlib

import dagster as dg

from subject_pipeline.store.layout import AUDIT
from subject_pipeline.store.opened import SubjectStore


def log_version(store: SubjectStore) -> dg.DataVersion:
    """The version of a store's audit log: it changes with every new segment, whatever process appended it.

    The log's objects are listed, and none is read.

    Raises:
        StoreError: the store failed.
    """
    digest = hashlib.sha256()
    for item in sorted(store.objects.list(AUDIT), key=lambda item: item.key):
        digest.update(f"{item.key}\0{item.size}\0{item.tag}\n".encode())
    return dg.DataVersion(digest.hexdigest()[:32])
