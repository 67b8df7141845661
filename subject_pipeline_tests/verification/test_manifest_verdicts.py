from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.checkpoints.checkpoint import NO_HASH, RosterEntry
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.registry.replaying import Document, changes_between
from subject_pipeline.verification.log_verdicts import EvidenceRow
from subject_pipeline.verification.manifest_verdicts import judge_manifests

# One subject's manifest as it went through time; no change of one leads from another to the same.
DOCUMENTS = {document_hash(one): one for one in ({"m": at, f"of {at}": at} for at in range(4))}
M0, M1, M2, OTHER = DOCUMENTS
NO = ""  # no manifest
ID = "WORKER/1"


def entry(sha256: str, seq: int = 4, candidate_id: str = ID) -> RosterEntry:
    """What a checkpoint knew: a chain up to `seq`, and a manifest."""
    return RosterEntry(candidate_id, candidate_id.replace("/", "_"), seq, NO_HASH if seq < 0 else "ab" * 32, sha256)


def updated(to: str, prior: str, seq: int = 5) -> EvidenceRow:
    """The registry recorded a change."""
    changes = changes_between(DOCUMENTS.get(prior), DOCUMENTS.get(to, {}))
    return EvidenceRow(Evidence(seq, to, "present"), {"kind": "replaced", "changes": changes})


def deleted(seq: int = 5) -> EvidenceRow:
    """The registry recorded a deletion."""
    return EvidenceRow(Evidence(seq, "", "deleted"), {"kind": "deleted"})


def document_of(actual: str) -> Callable[[str], Document | None]:
    """Reads the table, which has one manifest."""
    return lambda _: DOCUMENTS.get(actual)


# Each: the manifest there is; the roster's entry, if any; the rows; the verdict.
CASES: dict[str, tuple[str, RosterEntry | None, Sequence[EvidenceRow], str | None]] = {
    # Nothing is known.
    "a first registration": (M0, None, [], None),
    # The roster alone.
    "roster: as anchored": (M0, entry(M0), [], None),
    "roster: changed": (OTHER, entry(M0), [], "changed"),
    "roster: gone": (NO, entry(M0), [], "missing"),
    "roster: none, and none there": (NO, entry(NO), [], None),
    "roster: none, now registered": (M0, entry(NO), [], None),
    "roster: no chain, as anchored": (M0, entry(M0, -1), [], None),
    "roster: no chain, changed": (OTHER, entry(M0, -1), [], "changed"),
    "roster: no chain, gone": (NO, entry(M0, -1), [], "missing"),
    # Rows alone.
    "row: applied": (M1, None, [updated(M1, M0)], None),
    "row: not applied": (M0, None, [updated(M1, M0)], "unapplied"),
    "row: neither before nor after": (OTHER, None, [updated(M1, M0)], "changed"),
    "row: gone": (NO, None, [updated(M1, M0)], "missing"),
    "row: a first manifest, applied": (M1, None, [updated(M1, NO)], None),
    "row: a first manifest, gone": (NO, None, [updated(M1, NO)], "missing"),
    "row: a first manifest, another there": (OTHER, None, [updated(M1, NO)], "changed"),
    "row: a deletion, applied": (NO, None, [deleted()], None),
    "row: a deletion, not applied": (M0, None, [deleted()], "unapplied"),
    "row: a deletion, not applied, of whatever it was": (OTHER, None, [deleted()], "unapplied"),
    "rows: the last counts": (M2, None, [updated(M1, M0, 1), updated(M2, M1, 2)], None),
    "rows: one applied, one not": (M1, None, [updated(M1, M0, 1), updated(M2, M1, 2)], "unapplied"),
    "rows: rolled back beyond the last": (
        M1,
        None,
        [updated(M1, M0, 1), updated(M2, M1, 2), deleted(3)],
        "unapplied",
    ),
    "rows: rolled back to the first prior": (M1, None, [updated(M1, M0, 1), updated(M2, M1, 2)], "unapplied"),
    "rows: two that crossed, the first one is there": (M1, None, [updated(M1, M0, 1), updated(M2, M0, 2)], "unapplied"),
    "rows: changed after both": (OTHER, None, [updated(M1, M0, 1), updated(M2, M1, 2)], "changed"),
    "rows: deleted, put again, applied": (M1, None, [deleted(1), updated(M1, NO, 2)], None),
    "rows: deleted, put again, not applied": (NO, None, [deleted(1), updated(M1, NO, 2)], "unapplied"),
    "rows: put and deleted": (NO, None, [updated(M1, M0, 1), deleted(2)], None),
    "rows: put and deleted, neither applied": (
        M0,
        None,
        [updated(M0, NO, 0), updated(M1, M0, 1), deleted(2)],
        "unapplied",
    ),
    "rows: back to what it was": (M0, None, [updated(M1, M0, 1), updated(M0, M1, 2)], None),
    "rows: back to what it was, not applied": (M1, None, [updated(M1, M0, 1), updated(M0, M1, 2)], "unapplied"),
    # A roster, and rows after it.
    "both: applied": (M1, entry(M0), [updated(M1, M0)], None),
    "both: not applied": (M0, entry(M0), [updated(M1, M0)], "unapplied"),
    "both: changed": (OTHER, entry(M0), [updated(M1, M0)], "changed"),
    "both: gone": (NO, entry(M0), [updated(M1, M0)], "missing"),
    "both: a deletion, applied": (NO, entry(M0), [deleted()], None),
    "both: a deletion, not applied": (M0, entry(M0), [deleted()], "unapplied"),
    "both: a deletion, then another, unannounced": (OTHER, entry(M0), [deleted()], "resurrected"),
    "both: rolled back to the roster": (M0, entry(M0), [updated(M1, M0, 5), updated(M2, M1, 6)], "unapplied"),
    "both: rolled back by a deletion to the roster": (M0, entry(M0), [updated(M1, M0, 5), deleted(6)], "unapplied"),
    "both: none in the roster, a first one announced": (NO, entry(NO), [updated(M1, NO)], "unapplied"),
    "both: none in the roster, registered, then changed, not applied": (M0, entry(NO), [updated(M1, M0)], "unapplied"),
    "both: none in the roster, registered, then changed, another there": (
        OTHER,
        entry(NO),
        [updated(M1, M0)],
        "changed",
    ),
    "both: deleted in the roster, there again, changed": (M0, entry(NO), [deleted(4), updated(M1, M0)], "changed"),
    "both: deleted in the roster, there again, deleted": (M0, entry(NO), [deleted(4), deleted(5)], "resurrected"),
    "both: no chain in the roster": (M1, entry(M0, -1), [updated(M1, M0, 0)], None),
    "both: no chain in the roster, not applied": (M0, entry(M0, -1), [updated(M1, M0, 0)], "unapplied"),
    # A roster that is newer than the rows.
    "older row: the roster counts": (M1, entry(M1), [updated(M1, M0, 4)], None),
    "older row: changed since": (OTHER, entry(M1), [updated(M1, M0, 4)], "changed"),
    "older row: gone since": (NO, entry(M1), [updated(M1, M0, 4)], "missing"),
    "older row: rolled back since": (M0, entry(M1), [updated(M1, M0, 4)], "changed"),
    "older deletion: there again, unannounced, anchored": (M2, entry(M2), [deleted(3)], "resurrected"),
    "older deletion: anchored, gone": (NO, entry(M2), [deleted(3)], "missing"),
    "older deletion: still gone": (NO, entry(NO), [deleted(4)], None),
    "older deletion: there again": (M0, entry(NO), [deleted(4)], "resurrected"),
    "older and newer row: the newer counts": (M2, entry(M1), [updated(M1, M0, 4), updated(M2, M1, 5)], None),
}


@pytest.mark.parametrize(("actual", "roster", "rows", "kind"), CASES.values(), ids=CASES)
def test_a_manifest_is_held_to_what_was_announced_or_anchored(
    actual: str, roster: RosterEntry | None, rows: Sequence[EvidenceRow], kind: str | None
) -> None:
    """Rows after the checkpoint count first, then the checkpoint, then older rows; what none of them knows is new."""
    present = {ID: actual} if actual else {}
    entries = {} if roster is None else {ID: roster}
    found = judge_manifests(present, entries, {ID: rows} if rows else {}, document=document_of(actual))

    assert [(one.candidate_id, one.kind) for one in found] == ([] if kind is None else [(ID, kind)])
    assert all(one.detail for one in found)
    assert not judge_manifests(present, entries, {ID: rows} if rows else {}, unjudged={ID})


@pytest.mark.parametrize(("actual", "roster", "rows", "kind"), CASES.values(), ids=CASES)
def test_a_subject_is_judged_by_its_own_alone(
    actual: str, roster: RosterEntry | None, rows: Sequence[EvidenceRow], kind: str | None
) -> None:
    """Others beside it, sound or not, known or new, change no subject's verdict."""
    present = {"A": M0, "B": OTHER, "NEW": M2} | ({ID: actual} if actual else {})
    entries = {"A": entry(M0, candidate_id="A"), "B": entry(M0, candidate_id="B")} | ({ID: roster} if roster else {})
    evidence = {"Z": [updated(M1, M0)]} | ({ID: rows} if rows else {})
    judged = judge_manifests(present, entries, evidence, document=document_of(actual))
    found = [(one.candidate_id, one.kind) for one in judged]

    assert found == [("B", "changed"), *([] if kind is None else [(ID, kind)]), ("Z", "missing")]


def test_a_broken_chain_keeps_no_other_subject_from_its_verdict() -> None:
    """Who is not judged is passed over, wherever they stand among those who are."""
    evidence = {one: [updated(M1, M0)] for one in "ABC"}
    for unjudged in "ABC":
        found = judge_manifests({}, {}, evidence, unjudged={unjudged})
        assert [one.candidate_id for one in found] == [one for one in "ABC" if one != unjudged]


def test_an_entry_without_evidence_rows_is_the_rosters() -> None:
    """A subject that stands in the evidence with no row is judged as if it did not stand there."""
    assert judge_manifests({ID: M0}, {ID: entry(M0)}, {ID: []}) == []
    assert judge_manifests({ID: M0}, {}, {ID: []}) == []
    assert [one.kind for one in judge_manifests({}, {ID: entry(M0)}, {ID: []})] == ["missing"]


_KINDS = {"changed", "missing", "unapplied", "resurrected"}
_hashes = st.sampled_from([M0, M1, M2, OTHER])
_maybe = _hashes | st.just(NO)
_steps = st.lists(st.booleans() | _hashes, max_size=6)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Mapping[str, RosterEntry], list[EvidenceRow], list[str]]:
    """What an honest registry did with one manifest: the roster, the rows, and every state in turn."""
    state = draw(st.sampled_from([M0, M1, M2]))
    states, rows, seq = [state], list[EvidenceRow](), 0
    roster: dict[str, RosterEntry] = {}
    for at in range(draw(st.integers(0, 6))):
        match draw(st.sampled_from(["put", "delete", "checkpoint", "other row"])):
            case "put":
                new = f"{16 + at:02x}" * 32
                if state or any(row.evidence.deleted for row in rows):  # a first registration needs no row
                    rows.append(updated(new, state, seq))
                    seq += 1
                state = new
                states.append(state)
            case "delete" if state:
                rows.append(deleted(seq))
                seq += 1
                state = NO
                states.append(state)
            case "checkpoint":
                roster = {ID: entry(state, seq - 1)}
            case _:
                seq += 1
    return roster, rows, states


@given(histories())
def test_an_honest_registry_is_never_accused(
    history: tuple[Mapping[str, RosterEntry], list[EvidenceRow], list[str]],
) -> None:
    """Whatever it registered, changed and deleted, its table is as expected."""
    roster, rows, states = history
    present = {ID: states[-1]} if states[-1] else {}
    assert judge_manifests(present, roster, {ID: rows} if rows else {}) == []


@given(histories())
def test_a_manifest_that_was_announced_or_anchored_cannot_be_changed_unseen(
    history: tuple[Mapping[str, RosterEntry], list[EvidenceRow], list[str]],
) -> None:
    """Where the last state is known from a row or the roster, another manifest, or none, is found."""
    roster, rows, states = history
    known = {row.evidence.sha256 for row in rows} | {one.manifest_sha256 for one in roster.values()}
    if not states[-1] or states[-1] not in known:
        return
    evidence = {ID: rows} if rows else {}
    assert [one.kind for one in judge_manifests({ID: OTHER}, roster, evidence)] == ["changed"]
    (gone,) = judge_manifests({}, roster, evidence)
    assert gone.kind in {"missing", "unapplied"}


@given(
    st.dictionaries(st.sampled_from("ABC"), _hashes),
    st.dictionaries(st.sampled_from("ABC"), st.builds(entry, _maybe, st.integers(-1, 3))),
    st.dictionaries(
        st.sampled_from("ABC"),
        st.lists(
            st.builds(updated, _hashes, _maybe, st.integers(0, 5)) | st.builds(deleted, st.integers(0, 5)), max_size=3
        ),
    ),
    st.sets(st.sampled_from("ABC")),
)
def test_each_subject_has_at_most_one_verdict_in_order(
    present: dict[str, str],
    roster: dict[str, RosterEntry],
    evidence: dict[str, list[EvidenceRow]],
    unjudged: set[str],
) -> None:
    """Verdicts are sorted, one a subject, of four kinds, and none of who is not to be judged or not known."""
    found = judge_manifests(present, roster, evidence, unjudged=unjudged)
    ids = [one.candidate_id for one in found]

    assert ids == sorted(set(map(str, ids)))
    assert {one.kind for one in found} <= _KINDS
    assert set(ids) <= (roster.keys() | evidence.keys()) - unjudged
