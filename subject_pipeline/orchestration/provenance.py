"""Which store a run worked on, with which version of this package, and how the store is laid out."""

from importlib.metadata import PackageNotFoundError, version

from subject_pipeline.orchestration.ui.tables import Metadata
from subject_pipeline.store.opened import SubjectStore


def provenance(store: SubjectStore) -> Metadata:
    """What every run's metadata says of the store; it is read after the work, so the layout is there.

    Raises:
        StoreError: the store failed.
    """
    layout = store.layout()
    chunks = "nothing was written yet" if layout is None else f"{layout.chunk_count} chunks, log {layout.log_id}"
    return {
        "store": store.location.url,
        "package_version": _version(),
        "chunk_layout": chunks,
    }


def _version() -> str:
    try:
        return version("subject-pipeline")
    except PackageNotFoundError:  # run from a copy of the source
        return "unknown"
