import pytest

from subject_pipeline.errors import ConflictError, OutcomeUnknownError, StoreError, VanishedFileError
from subject_pipeline.objects import retries
from subject_pipeline.objects.retries import retrying


def test_a_lost_race_is_run_again() -> None:
    """While another writer wins, the attempt is made again, until it goes through."""
    losses = iter([ConflictError("lost"), ConflictError("lost again")])

    def attempt() -> str:
        for error in losses:
            raise error
        return "won"

    assert retrying(attempt) == "won"


def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who loses all the time is told so in the end."""
    monkeypatch.setattr(retries, "_PATIENCE_S", 0.1)

    def attempt() -> None:
        raise ConflictError("lost")

    with pytest.raises(ConflictError, match="lost"):
        retrying(attempt)


@pytest.mark.parametrize("error", [StoreError("full"), OutcomeUnknownError("unclear"), KeyboardInterrupt()])
def test_other_errors_are_not_tried_again(error: BaseException) -> None:
    """Only a lost race is tried again: what wrote perhaps something, or was interrupted, is not."""
    calls = []

    def attempt() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retrying(attempt)
    assert calls == [1]


@pytest.mark.long
def test_a_lost_file_is_looked_for_a_few_times_only() -> None:
    """A file of the table that stays gone ends in an error soon, not after five minutes."""
    calls = 0

    def attempt() -> None:
        nonlocal calls
        calls += 1
        raise VanishedFileError("gone")

    with pytest.raises(VanishedFileError):
        retrying(attempt)
    assert calls == 6
