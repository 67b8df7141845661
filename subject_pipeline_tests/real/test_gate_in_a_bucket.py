from pathlib import Path
from typing import Any

import pytest

from subject_pipeline.audit.reading import show
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import DeniedError, WithheldError
from subject_pipeline.gate import SubjectGate
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import verify
from subject_pipeline_tests.gate.conftest import PEOPLE
from subject_pipeline_tests.gate.test_gate import record
from subject_pipeline_tests.helpers.audit_stores import manifest
from subject_pipeline_tests.helpers.decided import decide
from subject_pipeline_tests.helpers.gated import GIVEN, POLICY, days

pytestmark = pytest.mark.real


def test_the_gate_decides_and_records_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    """Several chunks at a time; a decision made meanwhile counts, and what has not changed is not read again."""
    create_ring(tmp_path / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    (tmp_path / "gate.yaml").write_text(POLICY + "max_age: 0s\n")
    store = SubjectStore.at(f"{bucket}/store", wanted_chunks=4, ring=KeyRingFile(tmp_path / "ring.json"))
    registry = SubjectRegistry(store, ManifestEvidence(store, "tester"))
    for one in PEOPLE:
        registry.put(manifest(one, **GIVEN))
    people = [record(number) for number in range(1, 9)]

    def files(gate: SubjectGate) -> Any:
        return [entry.view.stored.rows for entry in gate._deciding._cache._entries.values()]

    with SubjectGate.open(
        f"{bucket}/store", policy=tmp_path / "gate.yaml", key_ring=tmp_path / "ring.json", actor="agent"
    ) as gate:
        permit = gate.before("list", subjects=PEOPLE, purpose="scheduling")
        read = files(gate)
        assert gate.after("list", people, permit=permit) == people
        assert all(one is other for one, other in zip(files(gate), read, strict=True))
        decide(store, "W-2", "consent_withdrawn", days(0), scope="general_pii")
        with pytest.raises(WithheldError, match="consent_withdrawn"):
            gate.after("list", people[1], permit=permit)
        assert gate.after("list", people, permit=permit) == [one for one in people if one["worker_id"] != 2]
        with pytest.raises(DeniedError):
            gate.before("list", subjects=["W-2"], purpose="scheduling")
    results = [row["row"].get("reason", row["row"]["result"]) for row in show(store, "W-2")]
    assert results == ["success", "success", *["consent_withdrawn"] * 3]
    found = verify(store)
    assert found.sound
    assert found.questionable == []
