from collections.abc import Collection, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.replaying import Document, changes_between
from subject_pipeline.checkpoints.rosters import RosterEntry
from subject_pipeline.formats.leaves import NO_HASH
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.verification.log_verdicts import EvidenceRow
from subject_pipeline.verification.manifest_verdicts import BrokenManifest, Recent, judge_manifests, judge_unnamed

# One subject's manifest as it went through time, and one that no decision made, by their hashes.
_STATES: list[Document] = [*({"state": at, "kept": "always"} for at in range(30)), {"state": -1}]
DOCUMENTS = {document_hash(one): one for one in _STATES}
M0, M1, M2, *LATER, OTHER = DOCUMENTS
NO = ""  # no manifest
ID = "WORKER/1"


def entry(sha256: str, seq: int = 4, state: str = "") -> RosterEntry:
    """What a checkpoint knew: a chain up to `seq`, and a manifest; without one it was never there, or as said."""
    row = NO_HASH if seq < 0 else "ab" * 32
    return RosterEntry("A" * 22, seq, row, sha256, state or ("present" if sha256 else "absent"))


def updated(to: str, prior: str, seq: int = 5) -> EvidenceRow:
    """The registry recorded a change."""
    changes = changes_between(DOCUMENTS[prior] if prior else None, DOCUMENTS[to])
    return EvidenceRow(Evidence(seq, to, "present"), {"kind": "replaced", "changes": changes})


def deleted(seq: int = 5) -> EvidenceRow:
    """The registry recorded a deletion."""
    return EvidenceRow(Evidence(seq, "", "deleted"), {"kind": "deleted"})


def judged(
    present: Mapping[str, str],
    roster: Mapping[str, RosterEntry],
    evidence: Mapping[str, Sequence[EvidenceRow]],
    unjudged: Collection[str] = (),
    recent: Recent | None = None,
) -> list[BrokenManifest]:
    """The verdicts, where the table's manifests can be read."""
    return judge_manifests(
        present,
        roster,
        evidence,
        unjudged=unjudged,
        recent=recent,
        document=lambda one: DOCUMENTS.get(present.get(one, "")),
    )


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
    "roster: deleted, and gone": (NO, entry(NO, state="deleted"), [], None),
    "roster: deleted, and there again": (M0, entry(NO, state="deleted"), [], "resurrected"),
    "roster: erased, and there again": (OTHER, entry(NO, state="erased"), [], "resurrected"),
    "roster: deleted, then announced": (M1, entry(NO, state="deleted"), [updated(M1, NO)], None),
    "roster: deleted, announced, not applied": (NO, entry(NO, state="deleted"), [updated(M1, NO)], "unapplied"),
    "roster: no chain, as anchored": (M0, entry(M0, -1), [], None),
    "roster: no chain, changed": (OTHER, entry(M0, -1), [], "changed"),
    "roster: no chain, gone": (NO, entry(M0, -1), [], "missing"),
    # Rows alone.
    "row: applied": (M1, None, [updated(M1, M0)], None),
    "row: not applied": (M0, None, [updated(M1, M0)], "unapplied"),
    "row: neither before nor after": (OTHER, None, [updated(M1, M0)], "changed"),
    "row: gone": (NO, None, [updated(M1, M0)], "missing"),
    "row: a first manifest, applied": (M1, None, [updated(M1, NO)], None),
    "row: a manifest after none that anybody knows of": (NO, None, [updated(M1, NO)], "missing"),
    "row: a deletion, applied": (NO, None, [deleted()], None),
    "row: a deletion, not applied": (M0, None, [deleted()], "unapplied"),
    "row: a deletion, of whatever was registered without a row": (OTHER, None, [deleted()], "unapplied"),
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
    found = judged(present, entries, {ID: rows} if rows else {})

    assert [(one.candidate_id, one.kind) for one in found] == ([] if kind is None else [(ID, kind)])
    assert all(one.detail for one in found)
    assert not judged(present, entries, {ID: rows} if rows else {}, unjudged={ID})


@pytest.mark.parametrize(("actual", "roster", "rows", "kind"), CASES.values(), ids=CASES)
def test_a_subject_is_judged_by_its_own_alone(
    actual: str, roster: RosterEntry | None, rows: Sequence[EvidenceRow], kind: str | None
) -> None:
    """Others beside it, sound or not, known or new, change no subject's verdict."""
    present = {"A": M0, "B": OTHER, "NEW": M2} | ({ID: actual} if actual else {})
    entries = {"A": entry(M0), "B": entry(M0)} | ({ID: roster} if roster else {})
    evidence = {"Z": [updated(M1, M0)]} | ({ID: rows} if rows else {})
    found = [(one.candidate_id, one.kind) for one in judged(present, entries, evidence)]

    assert found == [("B", "changed"), *([] if kind is None else [(ID, kind)]), ("Z", "missing")]


def test_a_broken_chain_keeps_no_other_subject_from_its_verdict() -> None:
    """Who is not judged is passed over, wherever they stand among those who are."""
    evidence = {one: [updated(M1, M0)] for one in "ABC"}
    for unjudged in "ABC":
        found = judged({}, {}, evidence, unjudged={unjudged})
        assert [one.candidate_id for one in found] == [one for one in "ABC" if one != unjudged]


def test_an_entry_without_evidence_rows_is_the_rosters() -> None:
    """A subject that stands in the evidence with no row is judged as if it did not stand there."""
    assert judged({ID: M0}, {ID: entry(M0)}, {ID: []}) == []
    assert judged({ID: M0}, {}, {ID: []}) == []
    assert [one.kind for one in judged({}, {ID: entry(M0)}, {ID: []})] == ["missing"]


def test_of_those_whom_nobody_names_only_manifests_are_missed() -> None:
    """Anchored with a manifest, and nothing says where it went: missing, by the hash of the id alone."""
    found = judge_unnamed([("a" * 64, entry(M0)), ("b" * 64, entry(NO, state="deleted")), ("c" * 64, entry(M1, -1))])
    assert [(one.candidate_id, one.id_sha256, one.subject, one.kind) for one in found] == [
        (None, name, name, "missing") for name in ("a" * 64, "c" * 64)
    ]


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
                new = LATER[at]
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
                gone = "deleted" if rows and rows[-1].evidence.deleted else ""
                roster = {ID: entry(state, seq - 1, "" if state else gone)}
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
    assert judged(present, roster, {ID: rows} if rows else {}) == []


@given(histories())
def test_a_manifest_that_was_announced_or_anchored_cannot_be_changed_unseen(
    history: tuple[Mapping[str, RosterEntry], list[EvidenceRow], list[str]],
) -> None:
    """Where the last state is known from a row or the roster, another manifest, or none, is found.

    What was registered without a row is known to nobody, so another may count as that, with all rows unapplied.
    """
    roster, rows, states = history
    known = {row.evidence.sha256 for row in rows} | {one.manifest_sha256 for one in roster.values()}
    if not states[-1] or states[-1] not in known:
        return
    evidence = {ID: rows} if rows else {}
    (changed,) = judged({ID: OTHER}, roster, evidence)
    assert changed.kind == "changed" or (changed.kind == "unapplied" and any(row.evidence.deleted for row in rows))
    (gone,) = judged({}, roster, evidence)
    assert gone.kind in {"missing", "unapplied"}


@given(
    st.dictionaries(st.sampled_from("ABC"), _hashes),
    st.dictionaries(st.sampled_from("ABC"), st.builds(entry, _maybe, st.integers(-1, 3))),
    st.dictionaries(
        st.sampled_from("ABC"),
        st.lists(st.builds(updated, _hashes, _maybe, st.integers(0, 5)) | st.builds(deleted), max_size=3),
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
    found = judged(present, roster, evidence, unjudged=unjudged)
    ids = [one.candidate_id for one in found]

    assert ids == sorted(set(map(str, ids)))
    assert {one.kind for one in found} <= _KINDS
    assert set(ids) <= (roster.keys() | evidence.keys()) - unjudged


def test_a_table_that_moved_since_it_was_hashed_explains_nothing() -> None:
    """The manifest that rows are replayed upon is the one whose hash was found, not what is there a moment later."""
    for hashed, document, kind in (
        (M0, DOCUMENTS[M0], "unapplied"),
        (OTHER, DOCUMENTS[M0], "changed"),
        (M0, DOCUMENTS[OTHER], "changed"),
        (M0, None, "changed"),
    ):
        there = {"W": document}
        (found,) = judge_manifests({"W": hashed}, {}, {"W": [updated(M1, M0)]}, document=there.get)
        assert found.kind == kind
