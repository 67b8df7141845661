"""Programs of `docs/`, run in the test's process: a verifier's many answers, without the time to start a program."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import CodeType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@cache
def _code(script: str) -> CodeType:
    path = DOCS / script
    return compile(path.read_text(encoding="utf-8"), path, "exec")


def run_script(script: str, *arguments: object) -> tuple[int, str, str]:
    """What `python docs/SCRIPT ARGUMENTS...` does: its exit status, standard output and standard error, all ASCII."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [str(DOCS / script), *map(str, arguments)])
        patch.setattr(sys, "path", [str(DOCS), *sys.path])
        with pytest.raises(SystemExit) as left:
            exec(_code(script), {"__name__": "__main__", "__file__": str(DOCS / script)})  # noqa: S102 - it is ours
    told = out.getvalue(), err.getvalue()
    assert all(text.isascii() for text in told)
    assert isinstance(left.value.code, int)
    return left.value.code, *told
