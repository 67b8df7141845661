"""What decisions and erasures withstand, and what they do not: rows of the threat model."""

import json
from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.anchoring.signing import Signer
from subject_pipeline.changes.evidence import Change
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import store_policies, stored_policies
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.decision_inbox import apply_inbox
from subject_pipeline.lifecycle.erasure.certificate import Certificate
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.erasing import carry_out_orders
from subject_pipeline.lifecycle.erasure.traces import look
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline_tests.conftest import Declared
from subject_pipeline_tests.helpers.audit_stores import JUNE, LAYOUT, Place, assert_sound, found_by, manifest, people
from subject_pipeline_tests.helpers.decisions import DECIDED, decision, line
from subject_pipeline_tests.helpers.recorded import plug_pulled, registry_rows_of, table_of

P, OTHER, NEW = people(0, 3)
STRICT = Policies.parse({"four_eyes": ["restricted", "erasure_ordered"]})
ORDERED = {"status": "erasure_ordered", "erasure_ordered_at": JUNE}


@pytest.fixture
def held(place: Place) -> Place:
    """Two people who were registered and anchored; one of them is under a legal hold, and to be erased."""
    rows = to_rows([manifest(one) for one in (P, OTHER)], LAYOUT)
    ManifestTable(place.store).snapshot_or_create().insert(rows)
    orders = [decision("hold_placed", P), decision("erasure_ordered", P, decision_id="d-2")]
    assert _decided(place, orders) == ["applied"] * 2
    assert write_checkpoint(place.store).written
    return place


def _decided(place: Place, orders: list[Any]) -> list[str]:
    decisions = Decisions(place.fresh_store(), "tester")
    verdicts = decisions.apply(orders)
    decisions.close()
    return [verdict.outcome for verdict in verdicts]


def _edit(place: Place, candidate_id: str, **fields: Any) -> None:
    """Write to the table as anybody may who can write to the bucket."""
    document = {**table_of(place.store)[candidate_id], **fields}
    snapshot = ManifestTable(place.store).snapshot_or_create()
    snapshot.upsert(to_rows([SubjectManifest.parse(document)], LAYOUT))


@pytest.mark.long
def test_a_hold_that_was_cut_out_of_the_table_keeps_the_person_all_the_same(held: Place) -> None:
    """The log does not explain the manifest, so nobody erases; and it is found."""
    _edit(held, P, holds=[])
    done = carry_out_orders(held.fresh_store(), "job")
    assert (done.erased, list(done.refused)) == (0, [P])
    assert P in table_of(held.store)
    assert found_by(held.verify())["manifests"] == {P: "changed"}
    assert found_by(held.verify_publicly())["manifests"] == {P: "changed"}


@pytest.mark.long
def test_nothing_is_decided_upon_an_edited_manifest(held: Place) -> None:
    """The row of the change would vouch for all of the manifest, so that the edit would be on record by it."""
    right = table_of(held.store)[OTHER]
    _edit(held, OTHER, status="on_hold")
    order = decision("consent_given", OTHER, scope="general_pii", version="1")
    assert _decided(held, [order]) == ["rejected"]
    assert registry_rows_of(held.objects, OTHER) == []
    for found in (held.verify(), held.verify(incremental=True), held.verify_publicly()):
        assert found_by(found)["manifests"] == {OTHER: "changed"}
    _edit(held, OTHER, status=right["status"])
    assert _decided(held, [order]) == ["applied"]
    assert_sound(held)


@pytest.mark.long
def test_nobody_is_linked_upon_an_edited_manifest(held: Place, declared: Declared) -> None:
    """Likewise; and the others of the run are linked."""
    _edit(held, OTHER, status="on_hold")
    report = backfill(held.store, declared([OTHER, NEW], "drivers"), evidence=held.evidence())
    assert [(one.kind, one.candidate_id) for one in report.failures] == [("refused", OTHER)]
    assert (report.counts.linked, report.counts.inserted) == (0, 1)
    assert registry_rows_of(held.objects, OTHER) == []
    assert found_by(held.verify())["manifests"] == {OTHER: "changed"}


@pytest.mark.long
def test_an_order_written_into_the_table_is_not_carried_out(held: Place) -> None:
    """A first registration needs no row, so neither does an order that came with it; but the checkpoint contradicts."""
    _edit(held, OTHER, **ORDERED)
    done = carry_out_orders(held.fresh_store(), "job")
    assert (done.erased, "in no row" in done.refused[OTHER]) == (0, True)
    assert found_by(held.verify())["manifests"] == {OTHER: "changed"}
    assert not registry_rows_of(held.objects, OTHER)


@pytest.mark.long
def test_an_order_that_was_imported_is_carried_out_once_a_checkpoint_has_it(held: Place, tmp_path: Path) -> None:
    """By then somebody has signed that it was there."""
    imported = manifest(NEW, **ORDERED).to_json()
    (tmp_path / "in.json").write_text(imported)
    assert import_manifests(held.store, tmp_path / "in.json", evidence=held.evidence()).inserted == 1
    done = carry_out_orders(held.fresh_store(), "job")
    assert (done.erased, NEW in done.refused) == (0, True)

    assert write_checkpoint(held.store).written
    done = carry_out_orders(held.fresh_store(), "job")
    assert (done.erased, done.held) == (1, [P])
    assert [row["decision"]["kind"] for row in registry_rows_of(held.objects, NEW)] == ["erased"]
    assert_sound(held)


@pytest.mark.long
@pytest.mark.parametrize("gone", [False, True], ids=["an older one", "none"])
def test_policies_that_are_put_back_are_in_force_and_each_row_says_which_were(held: Place, gone: bool) -> None:
    """The MAC of the older object is right, and nothing says that there were newer ones."""
    store_policies(held.store, Policies())
    older = held.objects.get("catalog/policies.json")
    store_policies(held.store, STRICT)
    assert _decided(held, [decision("restricted", OTHER)]) == ["rejected"]

    if gone:
        held.objects.delete("catalog/policies.json")
    else:
        held.objects.replace("catalog/policies.json", older or b"")

    assert _decided(held, [decision("restricted", OTHER)]) == ["applied"]
    (row,) = registry_rows_of(held.objects, OTHER)
    assert row["decision"]["policies_sha256"] == Policies().sha256 != STRICT.sha256
    assert stored_policies(held.store) == Policies()
    assert_sound(held)


def test_both_names_of_four_eyes_are_claims_of_whoever_delivers_the_file(held: Place) -> None:
    """One person can write both; access to the folder is the control."""
    store_policies(held.store, STRICT)
    order = line("erasure_ordered", OTHER, actor="an officer", approved_by="counsel")
    held.objects.replace("inbox/decisions/mine.jsonl", json.dumps(order).encode() + b"\n")
    assert apply_inbox(held.fresh_store(), "job").applied == 1
    (row,) = registry_rows_of(held.objects, OTHER)
    assert (row["actor"], row["decision"]["approved_by"]) == ("an officer", "counsel")


@pytest.mark.long
def test_a_writer_of_the_ring_records_whatever_is_decided(held: Place) -> None:
    """Policies bind our programs, not a key: what lacks its second person is in the row, and is settled and sound."""
    store_policies(held.store, STRICT)
    before = table_of(held.store)[OTHER]
    order = decision("erasure_ordered", OTHER).order
    after = {
        **before,
        "status": "erasure_ordered",
        "erasure_ordered_at": DECIDED,
        "updated_at": "2027-01-01T00:00:00.000000Z",
    }
    evidence = held.evidence()
    evidence.open()
    with plug_pulled():
        evidence.record(LAYOUT.names[0], [Change(OTHER, before, after, -1, order)], into=set())
    evidence.close()
    compact(held.store, held.evidence())
    assert table_of(held.store)[OTHER]["status"] == "erasure_ordered"
    (row,) = registry_rows_of(held.objects, OTHER)
    assert "approved_by" not in row["decision"]
    assert_sound(held)


@pytest.mark.long
def test_a_certificate_is_the_signers_word_for_what_was_looked_at(held: Place) -> None:
    """Anyone who has the private key can sign that nothing remains; anyone who has the store can look."""
    held.objects.replace("inbox/old.jsonl", json.dumps({"about": OTHER}).encode())
    assert _decided(held, [decision("erasure_ordered", OTHER)]) == ["applied"]
    carry_out_orders(held.fresh_store(), "job")
    compact(held.store, held.evidence())
    write_checkpoint(held.store)
    assert Certificates(held.store).issue().certificates == 1
    (honest,) = Certificates(held.store).stored()
    assert honest.document["remaining"] == ["inbox/old.jsonl"]

    signer = Signer.of(held.ring, honest.document["log_id"])
    forged = {**honest.document, "remaining": [], "remaining_objects": 0}
    certificate = Certificate.signed(forged, signer.seeds[signer.line])

    assert certificate.signed_by([signer.line])
    assert look(held.objects, [OTHER]).remaining(OTHER) == ["inbox/old.jsonl"]
