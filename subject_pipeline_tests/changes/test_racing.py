"""Two changes of one subject at the same time: whatever they are, the table is what the log says in the end."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.candidates.staging import stage_dataset
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import IncompleteError, UnknownSubjectError
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.registering import register_dataset
from subject_pipeline_tests.changes.test_settling import P, Registered, opened, three_people
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, Place, manifest
from subject_pipeline_tests.helpers.recorded import plug_pulled, registry_rows_of
from subject_pipeline_tests.helpers.verifying import meanwhile

Operation = Callable[[Registered], Any]

CHANGES: dict[str, Operation] = {
    "put": lambda there: there.put(status="restricted"),
    "delete": lambda there: there.delete(),
    "import": lambda there: there.imported(vertical="general"),
    "register": lambda there: there.register(),
    "compact": lambda there: there.compact(),
}


@pytest.fixture
def there(tmp_path: Path, prepared: Prepared) -> Registered:
    """Three people, one of whom everybody wants to change."""
    prepared(three_people, tmp_path)
    return opened(tmp_path)


def _but_one(folder: Path) -> None:
    three_people(folder)
    there = opened(folder)
    (folder / "first.json").write_text(json.dumps(there.first))
    there.delete()


@pytest.fixture
def one_deleted(tmp_path: Path, prepared: Prepared) -> Registered:
    """The same three, of whom that one was deleted."""
    prepared(_but_one, tmp_path)
    there = opened(tmp_path)
    there.first = json.loads((tmp_path / "first.json").read_text())
    return there


def tried(operation: Callable[[], Any]) -> Any:
    """What an operation gives; the error where the subject is unknown, or where it died."""
    try:
        return operation()
    except (UnknownSubjectError, IncompleteError) as error:
        return error


RACES = [
    (one, other, deleted, dies)
    for one, other, deleted in product(["put", "delete", "import", "register"], CHANGES, [False, True])
    for dies in [False, True]
    if one != "register" or deleted  # anyone who has a manifest is skipped without a look at the log
]


@pytest.mark.long
@pytest.mark.parametrize(("one", "other", "deleted", "dies"), RACES)
def test_a_change_that_is_overtaken_is_decided_again(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    one: str,
    other: str,
    dies: bool,
    deleted: bool,
) -> None:
    """Another change comes in once the first has looked and before it records, and is done, or gets to the log only."""
    there: Registered = request.getfixturevalue("one_deleted" if deleted else "there")

    def overtake() -> None:
        if dies:
            with plug_pulled():
                tried(partial(CHANGES[other], there))
        else:
            tried(partial(CHANGES[other], there))

    meanwhile(monkeypatch, ManifestEvidence, "recorded", overtake)
    told = tried(partial(CHANGES[one], there))

    rows = registry_rows_of(there.place.objects, P)[deleted:]
    if one == "delete" and isinstance(told, UnknownSubjectError):
        assert deleted or other == "delete"
    table = there.replayed()  # every row follows from the one before it
    if one == "put":
        assert table[P]["status"] == "restricted"
        assert told is (len(rows) == 0 or rows[-1]["decision"]["kind"] == "registered")
    if dies:  # otherwise the two have left nothing to settle
        there.compact()
    there.settled()


@pytest.mark.long
@pytest.mark.parametrize("other", CHANGES)
@pytest.mark.parametrize("one", ["put", "import", "register"])
def test_a_change_that_is_overtaken_between_log_and_table_commits_nothing_older(
    one_deleted: Registered, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    """Another change comes in once the first is recorded, and is decided on what that one has not committed yet.

    A deletion then finds nothing in the table to delete, and must keep the first from committing all the same.
    """
    meanwhile(monkeypatch, ManifestEvidence, "record", lambda: tried(partial(CHANGES[other], one_deleted)))
    tried(partial(CHANGES[one], one_deleted))
    one_deleted.settled()


def _import(place: Place, folder: Path, number: int, vertical: str) -> None:
    path = folder / f"{number}-{threading.get_ident()}.jsonl"
    path.write_text(manifest(P, status="restricted", vertical=vertical).to_json() + "\n")  # lifts no restriction
    assert import_manifests(place.store, path, evidence=place.evidence()).failed == 0


@pytest.mark.long
def test_threads_that_change_one_subject_leave_what_the_log_says(there: Registered, tmp_path: Path) -> None:
    """Put, delete, import and register at once, again and again: no person twice, no row that does not follow."""
    place = there.place
    source = there.people
    stage_dataset(place.store, source, limit=None)

    def register() -> None:
        register_dataset(
            place.store, source.name, limit=None, chunks=LAYOUT.names, declared=source, evidence=place.evidence()
        )

    def repeat(number: int) -> None:
        for turn in range(3):
            operations: list[Callable[[], Any]] = [
                partial(there.put, status=["active", "restricted"][turn % 2]),
                partial(_import, place, tmp_path, turn, ["general", "healthcare"][turn % 2]),
                there.delete,
                register,
            ]
            tried(operations[(number + turn) % len(operations)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(repeat, range(4)))
    there.settled()
    assert len(registry_rows_of(place.objects, P)) >= 3
