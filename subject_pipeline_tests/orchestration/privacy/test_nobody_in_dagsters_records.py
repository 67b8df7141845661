"""Nothing that Dagster keeps names a person: events, the output of steps, run config, tags, cursors, reasons."""

import re
from collections.abc import Iterator

import pytest

from subject_pipeline.lifecycle.stored_findings import read_findings
from subject_pipeline_tests.helpers.dagster_home import where_it_says
from subject_pipeline_tests.helpers.red_everywhere import KEYS, NEEDLES, RedEverywhere, red_everywhere

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedEverywhere]:
    """Everything that may be red is, once for all tests."""
    with red_everywhere(tmp_path_factory.mktemp("red")) as made:
        yield made


def test_the_test_is_about_something(everything: RedEverywhere) -> None:
    """Every check that may name somebody was red, steps failed, and their output was kept."""
    assert everything.red >= {
        "every_staged_candidate_has_a_manifest",
        "no_collisions",
        "source_reconciled",
        "nothing_rejected",
        "every_events_subject_is_registered",
        "chains_intact",
        "manifests_unchanged",
        "nobody_resurrected",
        "no_questionable_access",
        "nothing_carried_on",
    }
    assert set(everything.failures) >= {"people__candidate_chunks", "people__subject_manifests", "decisions"}
    assert where_it_says(everything.home, ["nobody's id"])["nobody's id"], "the output of steps is looked through"


def test_nobody_is_named_in_dagsters_home(everything: RedEverywhere) -> None:
    """No table's cell, no file and no file's name below it holds a key, an id, a storage key or an actor."""
    assert where_it_says(everything.home, NEEDLES) == {}


def test_what_was_found_is_listed_in_the_store_and_every_red_check_names_its_list(everything: RedEverywhere) -> None:
    """Each path that the metadata or a failure names is a list; together they say who it is, and quote the cell."""
    named = {path for path in everything.listed if path != "none"}
    assert {path.rpartition("/")[2] for path in named} >= {
        "subject_manifests.parquet",
        "candidate_chunks.parquet",
        "audit_log.parquet",
        "decisions.parquet",
        "audit_verification.parquet",
        "audit_checkpoint.parquet",
    }
    assert all(re.fullmatch(r"findings/[0-9a-f-]{36}/[\w/]+\.parquet", path) for path in named)
    rows = [row for path in named for row in read_findings(everything.store.objects, path)]
    kinds = {row.get("kind") for row in rows}
    assert kinds >= {"collision", "refused", "bad_mac", "resurrected", "questionable", "unregistered", "foreign_object"}
    assert {"ComputeError", "KeyError", "SourceError"} <= kinds
    said = " ".join(str(value) for row in rows for value in row.values())
    for one in ("zqstranger", KEYS[3], KEYS[5], KEYS[12], KEYS[13], KEYS[15]):
        assert one in said, one
