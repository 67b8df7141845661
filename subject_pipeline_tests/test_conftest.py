import os
import subprocess
import sys

import pytest
from hypothesis import settings

ASK = (
    "import subject_pipeline_tests.conftest, hypothesis; "
    "chosen = hypothesis.settings(); print(chosen.derandomize, chosen.max_examples)"
)


def test_no_example_has_a_deadline() -> None:
    """A loaded machine makes no test fail, whichever profile was chosen."""
    assert {settings.get_profile(name).deadline for name in ("quick", "ci", "nightly", "mutants")} == {None}
    assert settings().deadline is None


@pytest.mark.parametrize(("chosen", "examples"), [(None, "True 25"), ("ci", "True 100"), ("nightly", "False 1000")])
def test_the_environment_chooses_the_examples(chosen: str | None, examples: str) -> None:
    """Few for `make test`, more for CI, the same every time; the nightly run has others every time, and most."""
    environment = {name: value for name, value in os.environ.items() if name != "HYPOTHESIS_PROFILE"}
    environment |= {"CI": "true"} | ({"HYPOTHESIS_PROFILE": chosen} if chosen else {})
    answer = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == examples
