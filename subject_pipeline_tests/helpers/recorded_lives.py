"""A store in which things are decided about people."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from subject_pipeline.audit.reading import show
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.decisions.decision import Decision, Kind
from subject_pipeline.decisions.policies import Policies
from subject_pipeline.decisions.stored_policies import store_policies
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.judging import APPLIED, Verdict
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.helpers.lives import days_ago

ACTOR = "dpo"


@dataclass(frozen=True)
class LivedStore:
    """A local store of four chunks, with its keys."""

    store: SubjectStore
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    def at(cls, folder: Path, ring: KeyRingFile, policies: Policies | None = None, *, decided: int = 0) -> "LivedStore":
        """A new store, under some policies; or one in which so many decisions were made already."""
        store = SubjectStore.at(str(folder), wanted_chunks=4, ring=ring)
        if policies is not None:
            store_policies(store, policies)
        return cls(store, itertools.count(decided))

    @property
    def evidence(self) -> ManifestEvidence:
        """Records and reads what is decided."""
        return ManifestEvidence(self.store, ACTOR)

    @property
    def registry(self) -> SubjectRegistry:
        """The manifests."""
        return SubjectRegistry(self.store, self.evidence)

    @classmethod
    def in_folder(cls, folder: Path) -> "LivedStore":
        """A new store in a folder, with a ring of the keys that the fixture `ring` has."""
        create_ring(folder / "keys" / "ring.json", KeyRing.new(bytes(range(32)), bytes(range(32, 64))))
        return cls.at(folder / "store", KeyRingFile(folder / "keys" / "ring.json"))

    def put(self, *manifests: SubjectManifest) -> None:
        """Write manifests."""
        for manifest in manifests:
            self.registry.put(manifest)

    def document(self, candidate_id: str) -> dict[str, Any]:
        """A manifest's JSON."""
        return self.registry.get(candidate_id).as_json()

    def rows(self, candidate_id: str) -> list[dict[str, Any]]:
        """A subject's rows."""
        return [line["row"] for line in show(self.store, candidate_id)]

    def decide(self, kind: Kind, candidate_id: str = "W-1", **fields: Any) -> None:
        """Apply a decision, which must be allowed."""
        given = {"decision_id": f"d-{next(self._numbers)}", "ts": days_ago(0), "actor": ACTOR, **fields}
        assert self.apply(Decision(candidate_id=candidate_id, kind=kind, **given)) == APPLIED

    def apply(self, decision: Decision) -> Verdict:
        """Apply a decision."""
        decisions = Decisions(self.store, ACTOR)
        try:
            (verdict,) = decisions.apply([decision])
        finally:
            decisions.close()
        return verdict
