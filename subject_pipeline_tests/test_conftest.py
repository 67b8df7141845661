import os
import subprocess
import sys

import pytest
from hypothesis import settings

ASK = "import subject_pipeline_tests.conftest, hypothesis; s = hypothesis.settings(); print(s.deadline, s.derandomize)"


def test_no_example_has_a_deadline() -> None:
    """A loaded machine makes no test fail, whichever profile was chosen."""
    assert {settings.get_profile(name).deadline for name in ("ci", "nightly", "mutants")} == {None}
    assert settings().deadline is None


@pytest.mark.parametrize(("chosen", "derandomized"), [(None, True), ("ci", True), ("nightly", False)])
def test_the_environment_chooses_the_examples(chosen: str | None, derandomized: bool) -> None:
    """The same examples every time, unless the nightly run asks for others, in CI as elsewhere."""
    environment = {name: value for name, value in os.environ.items() if name != "HYPOTHESIS_PROFILE"}
    environment |= {"CI": "true"} | ({"HYPOTHESIS_PROFILE": chosen} if chosen else {})
    answer = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    assert answer.stdout.split() == ["None", str(derandomized)]


def test_the_nightly_run_has_more_examples() -> None:
    """Ten times as many."""
    assert settings.get_profile("nightly").max_examples == 10 * settings.get_profile("ci").max_examples
