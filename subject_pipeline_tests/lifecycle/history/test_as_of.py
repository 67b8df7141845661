"""Manifests as they were, told from what the rows record, against a model that remembers them."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.segment import Evidence
from subject_pipeline.changes.registry_rows import RegistryRow
from subject_pipeline.changes.replaying import changes_between
from subject_pipeline.decisions.decision import Decision, parse_decision
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.transitions import apply
from subject_pipeline.errors import AmbiguousSubjectError, DecisionError, UnknownThenError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.history.as_of import manifest_at
from subject_pipeline.manifests.hashes import document_hash
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest, new_manifest

BORN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
CHUNK = "chunk-0"
DECLARED = {"people": ("people_view",)}
Document = Mapping[str, Any]

ORDERS: list[dict[str, str]] = [
    *({"kind": "consent_given", "scope": "general_pii", "version": version} for version in "12"),
    {"kind": "consent_given", "scope": "biometric", "version": "1", "until": "2027-01-01T00:00:00Z"},
    *({"kind": kind, "scope": scope} for kind in ("consent_refused", "consent_withdrawn")
      for scope in ("general_pii", "biometric")),
    {"kind": "biometric_destroyed", "evidence": "doc:1"},
    *({"kind": "classified", "vertical": vertical} for vertical in ("general", "healthcare", "unknown")),
    {"kind": "retention_set", "policy": "short"},
    {"kind": "retention_set", "policy": "bipa"},
    *({"kind": kind, "hold_id": hold} for kind in ("hold_placed", "hold_released") for hold in "ab"),
    *({"kind": kind} for kind in
      ("interaction", "restricted", "unrestricted", "erasure_ordered", "erasure_cancelled")),
]  # fmt: skip
POLICIES = Policies.parse(
    {
        "policies": {
            "short": {
                "first_of": [{"keep": "30d", "from": "last_interaction"}, {"keep": "1y", "from": "consent_given"}]
            },
            "bipa": {"scope": "biometric", "keep": "3y", "from": "last_interaction"},
        }
    }
)


def at(step: int) -> str:
    """A time, one hour later for each step."""
    return format_time(BORN + dt.timedelta(hours=step))


def registered(**fields: Any) -> dict[str, Any]:
    """What registration writes, or another."""
    reference = DatasetReference(name="people", key_column="id", key_value="P")
    new = new_manifest(candidate_id="P", dataset=reference, safe_views=DECLARED["people"], chunk=CHUNK, now=BORN)
    return SubjectManifest.parse({**new.as_json(), **fields}).as_json()


def decided(order: Mapping[str, str], step: int) -> Decision:
    """A decision at a step."""
    return parse_decision({"decision_id": f"d{step}", "candidate_id": "P", "ts": at(step), "actor": "ada", **order})


class Model:
    """A subject's manifests and rows, kept as decisions are made."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.rows: list[RegistryRow] = []
        self.then: list[tuple[str, Document | None]] = [(str(first["updated_at"]), first)]

    @property
    def now(self) -> Document | None:
        """The manifest."""
        return self.then[-1][1]

    def record(self, after: dict[str, Any] | None, step: int, state: str = "present", **order: Any) -> None:
        """One row."""
        decision = {"ts": at(step), "recorded_at": at(step), **order}
        if after is not None:
            after["updated_at"] = at(step)
            decision["changes"] = changes_between(self.now, after)
        sha256 = "" if after is None else document_hash(after)
        self.rows.append(RegistryRow(Evidence(2 * step, sha256, state), decision))  # type: ignore[arg-type]
        self.then.append((at(step), after))

    def decide(self, order: Mapping[str, str], step: int) -> bool:
        """One decision; False where it is not allowed."""
        decision = decided(order, step)
        try:
            after = apply(self.now or {}, decision, POLICIES)
        except DecisionError:
            return False
        self.record(SubjectManifest.parse(after).as_json(), step, **decision.order)
        return True

    def told(self, time: str, current: Document | None = None) -> Document:
        """What the rows tell of a time."""
        return manifest_at("P", current or self.now, self.rows, time, chunk=CHUNK, declared=DECLARED)


@given(st.lists(st.sampled_from(ORDERS), max_size=14))
def test_every_manifest_comes_back(orders: list[dict[str, str]]) -> None:
    """Whatever was decided, at each time the manifest is the one that it was; between two times too."""
    model = Model(registered())
    for step, order in enumerate(orders, start=1):
        model.decide(order, step)
    for time, document in model.then:
        assert model.told(time) == document
        later = format_time(dt.datetime.fromisoformat(time) + dt.timedelta(minutes=59))
        assert model.told(later) == document
    with pytest.raises(UnknownThenError, match=r"no subject had the id 'P' at 2025.*registered at 2026-01-01"):
        model.told("2025-12-31T23:59:59.999999Z")


IMPORTED = [
    ({"consent": {"general_pii": {"status": "given", "version": "7", "given_at": at(0)}}},
     {"kind": "consent_withdrawn", "scope": "general_pii"}),
    ({"status": "restricted", "restricted_at": at(0)}, {"kind": "unrestricted"}),
    ({"holds": [{"hold_id": "a", "placed_at": at(0)}]}, {"kind": "hold_released", "hold_id": "a"}),
    ({"vertical": "healthcare"}, {"kind": "classified", "vertical": "unknown"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "order"), IMPORTED)
def test_who_was_imported_otherwise_is_told_from_the_first_row_on(
    fields: dict[str, Any], order: dict[str, str]
) -> None:
    """Before it nothing is guessed: no default could have been what the decision was made upon."""
    model = Model(registered(**fields))
    assert model.decide(order, 1)
    assert model.told(at(1)) == model.now
    with pytest.raises(UnknownThenError, match=f"it can be told from {at(1)} on"):
        model.told(at(0))


def test_what_a_decision_left_alone_is_told_of_who_was_imported() -> None:
    """A consent given under one scope says nothing against what stood under the other."""
    first = registered(consent={"biometric": {"status": "given", "version": "1", "given_at": at(0), "until": at(9)}})
    model = Model(first)
    assert model.decide({"kind": "consent_given", "scope": "general_pii", "version": "1"}, 1)
    assert model.told(at(0)) == first


def test_a_field_that_a_later_row_confirms_is_told_again() -> None:
    """A wrong guess ends where the last field that it concerns was recorded."""
    model = Model(registered(vertical="healthcare"))
    assert model.decide({"kind": "interaction"}, 1)
    assert model.decide({"kind": "classified", "vertical": "general"}, 2)
    assert model.decide({"kind": "restricted"}, 3)
    assert [model.told(at(step)) for step in (2, 3)] == [document for _, document in model.then[2:]]
    for step in (0, 1):
        with pytest.raises(UnknownThenError, match=f"it can be told from {at(2)} on"):
            model.told(at(step))


def test_a_manifest_older_than_its_last_change_elsewhere() -> None:
    """What somebody who was imported was before is not known here."""
    model = Model(registered(updated_at=at(5)))
    assert model.told(at(5)) == model.now
    with pytest.raises(UnknownThenError, match=f"from {at(5)} on"):
        model.told(at(4))


def test_after_a_deletion_it_says_so_and_a_registration_begins_again() -> None:
    """The first life of somebody who came back has no base; the second is recorded whole."""
    model = Model(registered())
    assert model.decide({"kind": "restricted"}, 1)
    model.record(None, 2, "erased", kind="erased")
    model.record(None, 3, "deleted", kind="readmitted")
    model.record(registered(created_at=at(4)), 4, kind="registered")
    assert model.decide({"kind": "interaction"}, 5)

    assert [model.told(at(step)) for step in (4, 5)] == [document for _, document in model.then[-2:]]
    with pytest.raises(UnknownThenError, match=f"it was erased at {at(2)}"):
        model.told(at(2))
    for step in (0, 1):
        with pytest.raises(UnknownThenError, match=f"cannot be told: it can be told from {at(2)} on"):
            model.told(at(step))


def test_linking_put_back() -> None:
    """The reference and the views of the second dataset go, those of the first stay."""
    first = registered()
    model = Model(first)
    both = [*first["datasets"], {"name": "other", "key_column": "k", "key_value": "P"}]
    model.record({**first, "datasets": both, "safe_views": [*first["safe_views"], "other_view"]}, 1, kind="linked")
    assert model.told(at(0)) == first
    assert model.told(at(1))["datasets"] == both


def test_a_manifest_that_no_row_explains() -> None:
    """Nothing is told from a table that was changed without the registry."""
    model = Model(registered())
    assert model.decide({"kind": "restricted"}, 1)
    with pytest.raises(AmbiguousSubjectError, match="audit verify"):
        model.told(at(1), {**(model.now or {}), "vertical": "healthcare"})
