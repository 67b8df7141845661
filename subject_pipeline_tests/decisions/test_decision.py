"""What a line of a decision file must be."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.decisions.decision import (
    MAX_REASON,
    REGISTRYS_OWN,
    Decision,
    Kind,
    candidate_check,
    is_undecided,
    matter_of,
    parse_decision,
)
from subject_pipeline.errors import DecisionError
from subject_pipeline_tests.helpers.decisions import DECIDED, decision, line


def test_the_kinds_are_words_that_rows_hold_for_ever() -> None:
    """Each as it is stored: what was recorded under another word would be no decision any more."""
    assert " ".join(Kind) == (
        "consent_given consent_refused consent_withdrawn biometric_destroyed classified retention_set interaction "
        "hold_placed hold_released restricted unrestricted erasure_ordered erasure_cancelled readmitted"
    )
    assert " ".join(REGISTRYS_OWN) == "registered replaced deleted linked erased"


@pytest.mark.parametrize("kind", Kind)
def test_a_decision_of_each_kind_gives_back_its_order(kind: Kind) -> None:
    """What a row records of it is what was ordered, with times in the store's form."""
    given_ = line(kind, ts="2026-06-01T14:00:00+02:00", reason="a reason", approved_by="counsel")
    assert parse_decision(given_).order == {**given_, "ts": DECIDED}


def test_empty_cells_count_as_absent_and_columns_that_inform_are_ignored() -> None:
    """A table has every column in every row."""
    table = {**line("restricted"), "scope": "", "until": None, "about_status": "active", "about_": 7}
    assert parse_decision(table) == decision("restricted")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"decision_id": None}, "decision_id: missing"),
        ({"actor": "  "}, "actor: empty"),
        ({"actor": 7}, "actor: must be text"),
        ({"candidate_id": "x" * 1_025}, "candidate_id: longer"),
        ({"candidate_id": "\ud800"}, "candidate_id: holds a lone surrogate"),
        ({"kind": "forgotten"}, "'forgotten' is none of consent_given"),
        ({"kind": ["restricted"]}, "is none of consent_given"),
        ({"kind": "erased"}, "erased is recorded by the registry alone"),
        ({"kind": "linked"}, "linked is recorded by the registry alone"),
        ({"ts": "2026-06-01T12:00:00"}, "ts: must be RFC 3339 with an offset"),
        ({"ts": "2026-02-30T12:00:00Z"}, "ts: no calendar has this time"),
        ({"reason": "x" * 201}, "reason: longer than 200"),
        ({"evidence": "a letter"}, "evidence: must be a URI"),
        ({"evidence": "sha256:ABC"}, "evidence: must be a URI"),
        ({"scope": "general_pii"}, "scope: restricted takes none"),
        ({"scope": "everything"}, "scope: must be one of general_pii, biometric"),
        ({"resaon": "typed badly"}, "unknown field 'resaon'"),
        ({"candidate_check": candidate_check("P-10")}, "candidate_check does not match"),
        ({"candidate_check": candidate_check("P-1").upper()}, "candidate_check does not match"),
    ],
)
def test_what_is_malformed_is_refused_in_words(changed: dict[str, Any], words: str) -> None:
    """The message names the field."""
    with pytest.raises(DecisionError, match=words):
        parse_decision({**line("restricted"), **changed})


@pytest.mark.parametrize("kind", Kind)
def test_what_a_kind_needs_is_asked_for(kind: Kind) -> None:
    """Each of the fields that a kind needs is named where it is missing."""
    scope = {"scope": "biometric"} if kind.startswith("consent_") else {}
    whole = line(kind, **scope)
    for name in whole.keys() - {"decision_id", "candidate_id", "kind", "ts", "actor"}:
        with pytest.raises(DecisionError, match=f"{name}: missing, {kind} needs it"):
            parse_decision({key: value for key, value in whole.items() if key != name})


def test_a_check_that_matches_is_taken() -> None:
    """It is no part of the order."""
    assert parse_decision({**line("restricted"), "candidate_check": candidate_check("P-1")}) == decision("restricted")


def test_an_apostrophe_before_what_looks_like_a_formula_goes_from_a_draft() -> None:
    """Its export put it there; a line without a check is no draft, and stays as it is."""
    written = {**line("restricted", "=1+1"), "candidate_id": "'=1+1", "reason": "'-5"}
    draft = parse_decision({**written, "candidate_check": candidate_check("=1+1")})
    assert (draft.candidate_id, draft.reason) == ("=1+1", "-5")
    assert parse_decision({**line("restricted"), "reason": "'-5"}).reason == "'-5"


def test_a_reason_may_be_as_long_as_the_message_says() -> None:
    """And no longer: that is refused above."""
    assert decision("restricted", reason="x" * MAX_REASON).reason == "x" * MAX_REASON


def test_general_consent_has_no_end_of_its_own() -> None:
    """Only biometric consent takes `until`."""
    with pytest.raises(DecisionError, match="until: consent_given takes none"):
        decision("consent_given", until="2027-01-01T00:00:00Z")


@pytest.mark.parametrize(("value", "draft"), [({"kind": ""}, True), ({"kind": None}, True), ({}, False), ([], False)])
def test_a_draft_has_a_kind_that_is_empty(value: object, draft: bool) -> None:
    """A line that lacks the field is malformed, not undecided."""
    assert is_undecided(value) is draft


def test_decisions_on_one_matter_are_told_from_others() -> None:
    """Consent by scope, with destruction; each hold by itself; an interaction is never stale."""
    assert decision("biometric_destroyed").matter == decision("consent_given", scope="biometric").matter
    assert decision("consent_given").matter != decision("consent_given", scope="biometric").matter
    assert (
        decision("hold_placed").matter
        == decision("hold_released").matter
        != decision("hold_placed", hold_id="b").matter
    )
    erasure = {decision(kind).matter for kind in ("erasure_ordered", "erasure_cancelled", "readmitted")}
    assert erasure == {matter_of({"kind": "erased"})}
    assert decision("restricted").matter == decision("unrestricted").matter not in erasure
    alone = [decision(kind).matter for kind in ("classified", "retention_set", "restricted", "erasure_ordered")]
    assert len({*alone, decision("consent_given").matter, decision("hold_placed").matter}) == 6
    assert (decision("interaction").matter, matter_of({"kind": "linked"})) == (None, None)


@pytest.mark.long
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) |
       st.dictionaries(st.sampled_from([*Decision._fields, "candidate_check", "about_x"]), inner)))  # fmt: skip
def test_anything_is_a_decision_or_refused(value: object) -> None:
    """No value of JSON ends in another error."""
    is_undecided(value)
    with contextlib.suppress(DecisionError):
        parse_decision(value)
