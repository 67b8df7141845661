"""The words that conditions may name."""

from collections.abc import Mapping, Sequence

from subject_pipeline.decisions.stored_policies import stored_policies
from subject_pipeline.manifests.manifest import VOCABULARY
from subject_pipeline.store.opened import SubjectStore


def declared_words(store: SubjectStore, vertical: str | None) -> Mapping[str, Sequence[str]]:
    """The words that are declared for each field, and the datasets; policies are read only if a vertical is named.

    Raises:
        PolicyError: the stored policies cannot be used.
        StoreError: the store failed.
    """
    words = VOCABULARY
    if vertical is not None and store.ring.configured:
        words = stored_policies(store).vocabulary
    return {**words, "dataset": store.catalog.names()}
