"""The Makefile, and what repeats its words: the hooks of pre-commit."""

import os
import re
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
_FROM_OUTSIDE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "HYPOTHESIS_PROFILE"}


def make(*arguments: str) -> str:
    """What make prints, as if it were typed, even where these tests run under make."""
    clean = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=clean, check=True, capture_output=True, text=True).stdout


def dry_run(*targets: str) -> list[str]:
    """The programs of `.venv/bin`, with their first argument, that make would run, in order."""
    said = make("--dry-run", "--old-file=.venv/.ready-dev", *targets)
    return [words[0] for words in re.findall(r"^\.venv/bin/((\S+)( .+)?)$", said, re.MULTILINE)]


def test_help_lists_every_target() -> None:
    """What can be typed is what is shown, and nothing is shown that cannot."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    shown = make("help")
    assert sorted(phony.split()) == sorted(targets)
    assert sorted(line.split()[0] for line in shown.splitlines()) == sorted(targets)


def test_pre_commit_runs_what_check_runs() -> None:
    """A commit that the hooks let through passes `make lint types`, and a push `make test`."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    by_commit = [hook["entry"].removeprefix(".venv/bin/") for hook in hooks if "stages" not in hook]
    looked = [re.sub(r" --check| subject_pipeline .+", "", line) for line in dry_run("lint", "types")]
    assert [entry.removesuffix(" --fix") for entry in by_commit] == looked
    assert [hook["entry"] for hook in hooks if hook.get("stages") == ["pre-push"]] == ["make test"]


def test_check_is_lint_types_and_test() -> None:
    """Nothing is checked by one and not by the other, and nothing is left out because it takes long."""
    assert not any(" long" in line for line in dry_run("check"))
    assert any("not long" in line for line in dry_run("test"))
    assert dry_run("check") == dry_run("lint", "types", "test", "HYPOTHESIS_PROFILE=ci")
