"""Decisions applied to a store: recorded with their content first, once, whatever comes between."""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import Decision, parse_decision
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import store_policies, stored_policies
from subject_pipeline.decisions.transitions import apply
from subject_pipeline.errors import IncompleteError, KeyRingError, PolicyError
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.judging import ADDED
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.maintenance import compact
from subject_pipeline_tests.conftest import Prepared, listing
from subject_pipeline_tests.helpers.audit_stores import Place, assert_sound, event, manifest, people, place_in
from subject_pipeline_tests.helpers.decisions import DECIDED, decision
from subject_pipeline_tests.helpers.recorded import hash_of, plug_pulled, registry_rows_of, table_of
from subject_pipeline_tests.helpers.verifying import meanwhile

P, Q, *OTHERS = people(0, 8)
FAR = people(3, 1)[0]


def _some_people(folder: Path) -> None:
    place = place_in(folder)
    for one in [P, Q, *OTHERS, FAR]:
        place.registry().put(manifest(one))


@pytest.fixture
def held(tmp_path: Path, prepared: Prepared) -> Place:
    """A store in which some people are registered."""
    prepared(_some_people, tmp_path)
    return place_in(tmp_path)


def applied(place: Place, *decisions: Decision, **options: Any) -> list[str]:
    """Apply decisions as another process would: what became of each, with the first word of why not."""
    applying = Decisions(place.fresh_store(), "tester")
    verdicts = applying.apply(decisions, **options)
    applying.close()
    return [f"{one.outcome}: {one.reason.split(':')[0]}" if one.reason else one.outcome for one in verdicts]


def replayed(place: Place, candidate_id: str, policies: Policies | None = None) -> Mapping[str, Any]:
    """What the chain says of somebody, by the pure function, order after order; each row must say the same."""
    document: Mapping[str, Any] = manifest(candidate_id).as_json()
    for row in registry_rows_of(place.objects, candidate_id):
        order = {name: value for name, value in row["decision"].items() if name not in ADDED}
        after = apply(document, parse_decision(order), policies or Policies())
        after["updated_at"] = row["decision"]["recorded_at"]
        assert row["decision"]["changes"] == {
            name: after.get(name) for name in after.keys() | document.keys() if after.get(name) != document.get(name)
        }
        assert hash_of(after) == row["manifest_sha256"]
        document = after
    return document


@pytest.mark.long
def test_a_row_holds_the_order_and_what_it_set(held: Place) -> None:
    """By whom and when it was decided, when it was recorded, under which policies, and the fields with their values."""
    order = decision("consent_withdrawn", P, evidence="https://example.com/1", reason="by letter")
    given = decision("consent_given", P, decision_id="d-0", ts="2026-05-01T00:00:00Z")
    assert applied(held, given, order) == ["applied", "applied"]
    there = held.registry().get(P).as_json()
    row = registry_rows_of(held.objects, P)[1]
    assert (row["ts"], row["actor"], row["action"]) == (DECIDED, "dpo", "manifest_updated")
    assert row["manifest_sha256"] == hash_of(there)
    assert row["decision"] == {
        **order.order,
        "recorded_at": there["updated_at"],
        "policies_sha256": Policies().sha256,
        "changes": {"consent": there["consent"], "updated_at": there["updated_at"]},
    }
    assert there["consent"]["general_pii"]["withdrawn_at"] == DECIDED
    assert_sound(held)


@pytest.mark.long
def test_the_same_decision_counts_once_however_old_it_is(held: Place) -> None:
    """Within one call, in a later one, and after others about the same matter; other content is conflicting."""
    first = decision("restricted", P)
    lifted = decision("unrestricted", P, decision_id="d-2", ts="2026-07-01T00:00:00Z")
    assert applied(held, first, first, lifted) == ["applied", "already_applied", "applied"]
    before = listing(held.folder)
    assert applied(held, first, lifted) == ["already_applied"] * 2
    assert applied(held, decision("restricted", P, reason="another")) == ["rejected: conflicting"]
    assert applied(held, decision("restricted", Q)) == ["applied"], "an id counts within its subject"
    assert [key for key in listing(held.folder) if key.startswith("audit/") and key not in before] != []


@pytest.mark.parametrize(
    ("order", "verdict"),
    [
        (decision("restricted", "NOBODY"), "rejected: unknown subject"),
        (decision("restricted", "x" * 300), "rejected: unknown subject"),
        (decision("readmitted", P), "rejected: not allowed"),
        (decision("consent_withdrawn", P, scope="biometric"), "rejected: not allowed"),
        (decision("restricted", P, ts="2999-01-01T00:00:00Z"), "rejected: future"),
    ],
)
def test_what_is_refused_changes_nothing_and_stops_no_other(held: Place, order: Decision, verdict: str) -> None:
    """Others in the same call are applied; on its own it leaves every byte as it was."""
    before = listing(held.folder)
    assert applied(held, order) == [verdict]
    assert listing(held.folder) == before
    assert applied(held, order, decision("restricted", FAR)) == [verdict, "applied"]


def test_stale_is_what_is_older_than_the_last_on_the_same_matter(held: Place) -> None:
    """Equal times are in the order recorded; an interaction is never stale; other matters do not count."""
    early, late = "2026-05-01T00:00:00Z", "2026-07-01T00:00:00Z"

    def one(number: int, kind: str, ts: str, **fields: Any) -> Decision:
        return decision(kind, P, decision_id=f"d-{number}", ts=ts, **fields)

    done = applied(
        held,
        one(1, "consent_given", late),
        one(2, "consent_withdrawn", early),
        one(3, "consent_withdrawn", late),
        one(4, "classified", early),
        one(5, "interaction", late),
        one(6, "interaction", early),
        one(7, "hold_placed", late),
        one(8, "hold_placed", early, hold_id="case-2"),
        one(9, "hold_released", early),
        one(10, "consent_given", early, scope="biometric"),
    )
    assert [number for number, outcome in enumerate(done, start=1) if outcome != "applied"] == [2, 9]
    assert {outcome for outcome in done if outcome != "applied"} == {"rejected: stale"}


def test_a_dry_run_judges_the_same_and_writes_nothing(held: Place) -> None:
    """Also where one decision depends on the one before."""
    orders = [
        decision("erasure_ordered", P),
        decision("restricted", P, decision_id="d-2"),
        decision("erasure_cancelled", P, decision_id="d-3"),
        decision("restricted", P, decision_id="d-4"),
    ]
    before = listing(held.folder)
    judged = applied(held, *orders, dry_run=True)
    assert listing(held.folder) == before
    assert judged == ["applied", "rejected: not allowed", "applied", "applied"] == applied(held, *orders)


def test_killed_between_log_and_table_it_is_completed_by_running_it_again(held: Place) -> None:
    """What is recorded counts as already applied, the table has it, and nothing is there twice."""
    orders = [decision("restricted", one) for one in [P, Q, FAR]]
    with plug_pulled(), pytest.raises(IncompleteError, match="run it again"):
        applied(held, *orders)
    recorded = len(registry_rows_of(held.objects))
    assert recorded >= 1
    assert applied(held, *orders).count("already_applied") == recorded
    assert [table_of(held.store)[one]["status"] for one in (P, Q, FAR)] == ["restricted"] * 3
    assert len(registry_rows_of(held.objects)) == len(orders)
    assert_sound(held)


def test_a_conflict_of_the_table_alone_is_settled_within_the_call(held: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer commits to the chunk after our rows are recorded: they count as applied, once."""
    meanwhile(monkeypatch, ManifestEvidence, "record", lambda: held.registry().put(manifest(Q, vertical="general")))
    assert applied(held, decision("restricted", P)) == ["applied"]
    assert len(registry_rows_of(held.objects, P)) == 1
    assert table_of(held.store)[P]["status"] == "restricted"
    assert_sound(held)


@pytest.mark.long
def test_what_was_refused_before_a_conflict_is_not_judged_upon_what_came_after_it(
    held: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a release that stands before the hold in a file would release it, if another writer came between."""
    other = decision("restricted", Q, decision_id="other")
    meanwhile(monkeypatch, ManifestEvidence, "record", lambda: applied(held, other))
    orders = [
        decision("hold_released", P, decision_id="d-1"),
        decision("hold_placed", P, decision_id="d-2"),
        decision("unrestricted", P, decision_id="d-3"),
    ]
    assert applied(held, *orders) == ["rejected: not allowed", "applied", "rejected: not allowed"]
    assert [hold["hold_id"] for hold in table_of(held.store)[P]["holds"]] == ["case-1"]
    assert_sound(held)


@pytest.mark.parametrize("dies", [False, True], ids=["done", "killed"])
def test_what_is_overtaken_is_judged_again(held: Place, monkeypatch: pytest.MonkeyPatch, dies: bool) -> None:
    """An order of erasure comes between the look and the record: then the restriction is not allowed any more."""

    def overtake() -> None:
        if dies:
            with plug_pulled(), pytest.raises(IncompleteError):
                applied(held, decision("erasure_ordered", P, decision_id="other"))
        else:
            applied(held, decision("erasure_ordered", P, decision_id="other"))

    meanwhile(monkeypatch, ManifestEvidence, "recorded", overtake)
    assert applied(held, decision("restricted", P)) == ["rejected: not allowed"]
    assert table_of(held.store)[P] == replayed(held, P)
    assert_sound(held)


def test_who_is_deleted_by_the_log_is_deleted_in_the_table_and_unknown(held: Place) -> None:
    """A deletion that was recorded and not applied is settled by anyone who decides next."""
    with plug_pulled(), pytest.raises(IncompleteError):
        held.registry().delete(P)
    assert P in table_of(held.store)
    assert applied(held, decision("restricted", P), decision("restricted", Q)) == [
        "rejected: unknown subject",
        "applied",
    ]
    assert P not in table_of(held.store)
    assert_sound(held)


@pytest.mark.long
def test_decisions_that_cross_end_in_a_state_that_the_chain_explains(held: Place) -> None:
    """Threads decide about the same people, again and again: the table is what the chains' orders give, in order."""
    kinds = ["restricted", "unrestricted", "consent_given", "consent_withdrawn", "hold_placed", "hold_released",
             "erasure_ordered", "erasure_cancelled", "interaction"]  # fmt: skip

    def decide(number: int) -> list[str]:
        dice = random.Random(number)  # noqa: S311 - a choice, no secret
        done = []
        for turn in range(4):
            orders = [
                decision(dice.choice(kinds), dice.choice([P, Q]), decision_id=f"{number}-{turn}-{at}")
                for at in range(6)
            ]
            done += applied(held, *orders)
        return done

    with ThreadPoolExecutor(3) as pool:
        outcomes = [one for done in pool.map(decide, range(3)) for one in done]
    rows = [*registry_rows_of(held.objects, P), *registry_rows_of(held.objects, Q)]
    assert outcomes.count("applied") == len(rows)
    assert len({row["decision"]["decision_id"] for row in rows}) == len(rows)
    compact(held.store, held.evidence())
    table = table_of(held.store)
    assert {one: table[one] for one in (P, Q)} == {one: replayed(held, one) for one in (P, Q)}
    assert_sound(held)


def test_accesses_between_decisions_are_in_nobodys_way(held: Place) -> None:
    """A chain's registry rows need not follow each other."""
    assert applied(held, decision("restricted", P)) == ["applied"]
    held.append(event(P, "e-1"), event(P, "e-2"))
    assert applied(held, decision("unrestricted", P, decision_id="d-2")) == ["applied"]
    assert [row["seq"] for row in registry_rows_of(held.objects, P)] == [0, 3]


def test_a_table_that_the_log_does_not_explain_is_not_decided_upon(held: Place) -> None:
    """Somebody else's edit is left for verification to find; others are decided about."""
    assert applied(held, decision("restricted", P)) == ["applied"]
    snapshot = ManifestTable(held.store).snapshot()
    assert snapshot is not None
    snapshot.upsert(to_rows([manifest(P, vertical="general")], held.store.layout_or_create().chunks))
    done = applied(held, decision("unrestricted", P, decision_id="d-2"), decision("restricted", Q))
    assert done[1] == "applied"
    assert done[0].startswith("rejected: the manifest is none")


def test_every_decision_needs_the_key_ring(held: Place) -> None:
    """Also where no log exists yet; nothing is written."""
    before = listing(held.folder)
    with pytest.raises(KeyRingError, match="SUBJECT_KEY_RING"):
        Decisions(held.store.without_ring(), "tester").apply([decision("restricted", P)])
    assert listing(held.folder) == before


def test_policies_are_believed_only_under_a_mac_of_the_ring(held: Place) -> None:
    """What was applied is what is in force; an edit, or another ring's, ends in words."""
    strict = Policies.parse({"four_eyes": ["restricted"]})
    assert stored_policies(held.store) == Policies()
    assert store_policies(held.store, strict) is True
    assert store_policies(held.store, strict) is False
    assert stored_policies(held.store) == strict
    assert applied(held, decision("restricted", P)) == ["rejected: not allowed"]
    assert applied(held, decision("restricted", P, approved_by="counsel")) == ["applied"]
    assert registry_rows_of(held.objects, P)[0]["decision"]["policies_sha256"] == strict.sha256

    data = held.objects.get("catalog/policies.json") or b""
    for forged in [data.replace(b"restricted", b"classified"), b"{}", b"[1]", data[:40], b'{"policies":{},"mac":1}']:
        held.objects.replace("catalog/policies.json", forged)
        with pytest.raises(PolicyError, match=r"catalog/policies\.json"):
            applied(held, decision("unrestricted", P, decision_id="d-2"))


def test_one_commit_applies_many_chunks(held: Place) -> None:
    """A segment a chunk, and one version of the table."""
    orders = [decision("restricted", one) for one in [P, Q, *OTHERS, FAR]]

    def version() -> int:
        snapshot = ManifestTable(held.store).snapshot()
        assert snapshot is not None
        return snapshot.version

    before, segments = version(), held.objects.counted("create", "audit/")
    assert set(applied(held, *orders)) == {"applied"}
    assert (version() - before, held.objects.counted("create", "audit/") - segments) == (1, 2)


def test_nothing_is_known_of_anybody_in_a_store_without_people(place: Place) -> None:
    """Every decision is about an unknown subject, and no table is made."""
    assert applied(place, decision("restricted", P)) == ["rejected: unknown subject"]
    assert not (place.folder / "subjects").exists()


def _orders(sequence: Sequence[str]) -> list[Decision]:
    return [decision(kind, P, decision_id=f"d-{at}") for at, kind in enumerate(sequence)]


def test_many_decisions_about_one_person_are_applied_in_order(held: Place) -> None:
    """Each upon what the one before left."""
    kinds = ["hold_placed", "erasure_ordered", "erasure_ordered", "hold_released", "erasure_cancelled", "restricted"]
    assert [one.split(":")[0] for one in applied(held, *_orders(kinds))] == [
        "applied", "applied", "rejected", "applied", "applied", "applied",
    ]  # fmt: skip
    assert table_of(held.store)[P] == replayed(held, P)
    assert_sound(held)
