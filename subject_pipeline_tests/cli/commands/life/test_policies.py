from pathlib import Path

import pytest
import yaml

from subject_pipeline.decisions.decision import Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline_tests.cli.conftest import Run
from subject_pipeline_tests.conftest import listing
from subject_pipeline_tests.helpers.recorded_lives import LivedStore

_YAML = """\
policies:
  4_year_default: {keep: 1460d, from: registered}
  bipa: {scope: biometric, first_of: [{keep: 3y, from: last_interaction}, {keep: 0d, from: consent_withdrawn}]}
verticals: [general, healthcare]
four_eyes: [erasure_ordered, hold_released]
"""


@pytest.fixture
def file(workplace: Path) -> Path:
    """A policies file."""
    path = workplace / "policies.yaml"
    path.write_text(_YAML)
    return path


@pytest.mark.long
def test_apply_then_show(run: Run, lived: LivedStore, file: Path) -> None:
    """What is shown is what was applied, and can be applied again."""
    applied = run("policies", "apply", file, "--json")
    policies = Policies.parse(yaml.safe_load(_YAML))

    assert applied.status == 0
    assert applied.json == {
        "file": str(file),
        "sha256": policies.sha256,
        "changed": True,
        "subjects": 3,
        "dates_differ": 1,
        "undeclared": 0,
        "undeclared_policies": {},
        "undeclared_verticals": {},
    }
    shown = run("policies", "show", "--json").json
    assert shown == {**yaml.safe_load(_YAML), "sha256": policies.sha256}
    words = run("policies", "show").out
    assert yaml.safe_load(words) == yaml.safe_load(_YAML)
    file.write_text(words)
    assert run("policies", "apply", file, "--json").json["changed"] is False


def test_words_say_what_is_not_declared_any_more(run: Run, lived: LivedStore, file: Path) -> None:
    """By name, and no manifest changes."""
    file.write_text("policies: {temp: {keep: 1d, from: registered}}\nverticals: [temp]")
    assert run("policies", "apply", file).status == 0
    lived.decide(Kind.CLASSIFIED, "W-1", vertical="temp")
    lived.decide(Kind.RETENTION_SET, "W-1", policy="temp")
    file.write_text("{}")
    ran = run("policies", "apply", file)
    assert "1 have a policy or vertical that is not declared" in ran.out
    assert "policy temp of 1 manifests" in ran.err
    assert "vertical temp of 1 manifests" in ran.err
    after = lived.document("W-1")
    assert (after["vertical"], after["retention"]["policy"]) == ("temp", "temp")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policies: {a: {keep: 3, from: registered}}", "policies.a"),
        ("policies: {a: {keep: 3y, from: birth}}", "consent_given"),
        ("[", "cannot read policies"),
        ("verticals: ['two words']", "two words"),
        ("four_eyes: [erase]", "erasure_ordered"),
        ("unknown: 1", "unknown"),
    ],
)
def test_a_wrong_file_changes_nothing(run: Run, lived: LivedStore, file: Path, text: str, words: str) -> None:
    """Exit status 2, with what is wrong."""
    file.write_text(text)
    before = listing(Path("data"))
    ran = run("policies", "apply", file, "--json")
    assert ran.status == 2
    assert words in ran.json["error"]
    assert listing(Path("data")) == before
    assert run("policies", "apply", "missing.yaml").status == 2


def test_the_key_ring_is_needed(run: Run, lived: LivedStore, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To write policies, and to believe those that are there."""
    with monkeypatch.context() as without:
        without.delenv("SUBJECT_KEY_RING")
        before = listing(Path("data"))
        assert run("policies", "apply", file).status == 2
        assert listing(Path("data")) == before
        assert run("policies", "show").status == 0
    assert run("policies", "apply", file).status == 0
    monkeypatch.delenv("SUBJECT_KEY_RING")
    assert run("policies", "show").status == 2


def test_policies_may_come_first(run: Run, lived: LivedStore, file: Path) -> None:
    """A store with policies is a store with 0 subjects; what is in force without any is shown too."""
    new = ("--store", "new")
    assert run("policies", "show", *new).status == 2
    assert run("policies", "apply", file, *new, "--json").json["subjects"] == 0
    assert run("subjects", "count", *new).out == "0\n"
    usual = run("policies", "show", "--json").json
    assert usual["policies"] == {"4_year_default": {"keep": "1460d", "from": "registered"}}
    assert usual["verticals"] == ["general", "healthcare"]
    assert usual["four_eyes"] == []
