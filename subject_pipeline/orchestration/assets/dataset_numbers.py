"""What a dataset's page says at once: how many people, how many new, of which source, is it current, what is red."""

from collections.abc import Mapping

from subject_pipeline.candidates.staged_parts import read_record
from subject_pipeline.candidates.staging import version_now
from subject_pipeline.errors import SourceError
from subject_pipeline.orchestration.ui.manifests import PARTITION_ROWS, RED_NUMBERS, partition_rows
from subject_pipeline.orchestration.ui.tables import Metadata
from subject_pipeline.registry.outcomes import Registration
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.opened import SubjectStore


def dataset_numbers(
    store: SubjectStore, declaration: DatasetDeclaration, done: Registration, past: Mapping[str, Mapping[str, int]]
) -> Metadata:
    """What is known of the whole dataset after a run, for an observation of the run: a partition has its own numbers.

    Args:
        store: where the dataset is registered.
        declaration: the dataset.
        done: what the run did.
        past: the numbers of each partition's last record before the run.

    Raises:
        StoreError: the store failed.
    """
    staged = read_record(store.objects, declaration.name)
    ran = {outcome.chunk for outcome in done.outcomes}
    elsewhere = {name: numbers for name, numbers in past.items() if name not in ran}
    people = sum(partition_rows(outcome) for outcome in done.outcomes)
    return {
        "people": people + sum(numbers.get(PARTITION_ROWS, 0) for numbers in elsewhere.values()),
        "new_people": done.counts.inserted,
        "partitions": len(ran),
        "source_version": staged.version,
        "staged_at": staged.staged_at.isoformat(timespec="seconds"),
        "is_current": _is_current(store, declaration, staged.version),
        "red": _red(done, elsewhere),
    }


def dataset_words(numbers: Metadata) -> str:
    """The same in one sentence, which every partition of the run carries.

    The page of a partitioned asset shows the metadata of whichever partition's record comes last, and Dagster writes
    them in no order.
    """
    return (
        f"{numbers['people']:,} people, {numbers['new_people']:,} of them new in this run; source version "
        f"{numbers['source_version']}, staged at {numbers['staged_at']}; current: {numbers['is_current']}; "
        f"red: {numbers['red']}"
    )


def _is_current(store: SubjectStore, declaration: DatasetDeclaration, staged: str) -> str:
    try:
        now = version_now(store, declaration)
    except SourceError:
        return "not known, the source cannot be listed"
    return "yes" if now == staged else "no, the source, or what is declared of it, changed since it was staged"


def _red(done: Registration, elsewhere: Mapping[str, Mapping[str, int]]) -> str:
    """The checks of the manifests that are red, each with how many partitions it is red in."""
    found = []
    for check, (number, of) in RED_NUMBERS.items():
        red = sum(bool(of(outcome)) for outcome in done.outcomes)
        red += sum(bool(numbers.get(number)) for numbers in elsewhere.values())
        if red:
            found.append(f"{check} in {red:,} partition{'s' if red > 1 else ''}")
    return ", ".join(found) or "nothing"
