import runpy

import pytest
from hypothesis import settings

from subject_pipeline_tests import conftest


def test_no_example_has_a_deadline() -> None:
    """A loaded machine makes no test fail, whichever profile was chosen."""
    assert {settings.get_profile(name).deadline for name in ("quick", "ci", "nightly", "mutants")} == {None}
    assert settings().deadline is None


@pytest.mark.parametrize("ci", [False, True])
@pytest.mark.parametrize(("chosen", "examples"), [(None, (True, 25)), ("ci", (True, 100)), ("nightly", (False, 1_000))])
def test_the_environment_chooses_the_examples(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, examples: tuple[bool, int], *, ci: bool
) -> None:
    """Few for `make test`, more for CI, the same every time; the nightly run has others every time, and most.

    Whatever Hypothesis's own profile is: it is another one under CI=true.
    """
    settings.register_profile("its own", derandomize=ci, max_examples=7)
    settings.load_profile("its own")
    with monkeypatch.context() as patch:
        if chosen:
            patch.setenv("HYPOTHESIS_PROFILE", chosen)
        else:
            patch.delenv("HYPOTHESIS_PROFILE", raising=False)
        runpy.run_path(str(conftest.__file__))
        settings_then = settings()
    runpy.run_path(str(conftest.__file__))  # what this run was started with again
    assert (settings_then.derandomize, settings_then.max_examples) == examples
