"""A store of four chunks with an audit log, and runs of the code location's verification over it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.definitions import defs as load_definitions
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile, create_ring
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.conftest import Prepared
from subject_pipeline_tests.helpers.audit_stores import event, manifest
from subject_pipeline_tests.helpers.instances import dagster_instance

VERIFICATION, CHECKPOINT = dg.AssetKey("audit_verification"), dg.AssetKey("audit_checkpoint")
LAYOUT = ChunkLayout(4)
NAMES = LAYOUT.names
SUBJECTS = [f"P-{number}" for number in range(12)]


def subject_in(chunk: str) -> str:
    """One of the registered subjects, of a chunk."""
    return next(one for one in SUBJECTS if LAYOUT.chunk_of(one) == chunk)


@dataclass
class Audited:
    """A store and its key ring, in one folder."""

    folder: Path

    @property
    def store(self) -> SubjectStore:
        """The store."""
        return SubjectStore.at(str(self.folder / "store"), wanted_chunks=LAYOUT.count, ring=self.ring)

    @property
    def ring(self) -> KeyRingFile:
        """The key ring."""
        return KeyRingFile(self.folder / "ring.json")

    def register(self, *candidate_ids: str) -> None:
        """Give these a manifest."""
        registry = SubjectRegistry(self.store, ManifestEvidence(self.store, "test"))
        for one in candidate_ids:
            registry.put(manifest(one))

    def append(self, candidate_id: str, event_id: str) -> None:
        """Record an access."""
        log = AuditLog(self.store)
        assert log.append([event(candidate_id, event_id)])
        log.close()


@dataclass
class Verifying(Audited):
    """The code location as it is loaded, on a store, a key ring and a Dagster instance of its own."""

    instance: dg.DagsterInstance
    defs: dg.Definitions

    def run(self, *assets: dg.AssetKey, chunks: tuple[str, ...] = NAMES, mode: str = "full") -> Any:
        """Run assets of the verification's job over the range from the first to the last of these chunks."""
        return self.defs.resolve_job_def("verify_checkpoint_and_report").execute_in_process(
            instance=self.instance,
            tags={"dagster/asset_partition_range_start": chunks[0], "dagster/asset_partition_range_end": chunks[-1]},
            run_config={
                "ops": {"audit_verification": {"config": {"mode": mode}}} if VERIFICATION in assets else {},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            asset_selection=list(assets),
            raise_on_error=False,
        )

    def verify(self, *chunks: str, mode: str = "full") -> dict[str, dg.AssetCheckEvaluation]:
        """Verify some chunks, or all; the checks that are not about freshness, by name."""
        result = self.run(VERIFICATION, chunks=chunks or NAMES, mode=mode)
        assert result.success
        found = result.get_asset_check_evaluations()
        return {one.check_name: one for one in found if one.check_name != "full_verification_is_recent"}

    def checkpoint(self) -> None:
        """Sign a checkpoint."""
        assert self.run(CHECKPOINT).success

    def shown(self, check: str) -> dg.AssetCheckEvaluation:
        """The evaluation of a verification's check that Dagster's pages show."""
        record = self.instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(VERIFICATION, check))
        assert record is not None
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
        return record.evaluation

    def segment_of(self, chunk: str) -> Path:
        """The first segment of a chunk's log."""
        return self.folder / "store" / "audit" / chunk / f"{0:012d}.jsonl"

    def tamper(self, chunk: str) -> None:
        """Change a result in a chunk's log."""
        path = self.segment_of(chunk)
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"result":"success"', '"result":"denied"', 1), encoding="utf-8")


def _twelve_subjects(folder: Path) -> None:
    create_ring(folder / "ring.json", KeyRing.new(b"k" * 32, b"s" * 32))
    made = Audited(folder)
    made.register(*SUBJECTS)
    for one in SUBJECTS:
        made.append(one, "e-1")


@contextmanager
def verifying(folder: Path, prepared: Prepared, patch: pytest.MonkeyPatch) -> Iterator[Verifying]:
    """Twelve subjects, and an event about each."""
    patch.setenv("SUBJECT_CHUNKS", str(LAYOUT.count))
    patch.setenv("SUBJECT_STORE_URL", str(folder / "store"))
    patch.setenv("SUBJECT_KEY_RING", str(folder / "ring.json"))
    prepared(_twelve_subjects, folder)
    with dagster_instance() as instance:
        yield Verifying(folder, instance, load_definitions())


def meanwhile(patch: pytest.MonkeyPatch, place: Any, name: str, other: Callable[[], object]) -> None:
    """Let another run begin and end where a run would call this, the first time that it does."""
    real, waiting = getattr(place, name), [other]

    def called(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        if waiting:
            waiting.pop()()
        return result

    patch.setattr(place, name, called)
