"""`make bench-soak`: verifications beside writers in other processes; none of them may raise an alarm."""

import argparse
import collections
import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from reports import RAM
from steps import Found, Step, check, step
from work import one_event, people_in, register_step, ring_in, store_in

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.verification.whole_store import verify

PEOPLE, CHUNKS, A_STORE = 120, 4, 250
PAUSES_S = {"appender": 0.025, "registrar": 0.05, "keeper": 0.5}  # so that verifications can keep up with the log


def appender(folder: Path) -> Iterator[str]:
    """Appends of three events."""
    log = AuditLog(store_in(folder))
    for at in itertools.count(step=3_000):
        log.append([one_event(at + some * 1_000 + random.randrange(PEOPLE)) for some in range(3)])  # noqa: S311
        yield "appends"


def registrar(folder: Path) -> Iterator[str]:
    """Manifests changed, deleted and registered again."""
    store = store_in(folder)
    registry = SubjectRegistry(store, ManifestEvidence(store, "registrar"))
    while True:
        manifest = registry.get(f"WORKER-{100_001 + random.randrange(PEOPLE)}")  # noqa: S311
        registry.put(manifest.model_copy(update={"vertical": random.choice(("general", "unknown"))}))  # noqa: S311
        yield "changes"
        registry.delete(manifest.candidate_id)
        yield "deletions"
        registry.put(manifest)
        yield "returns"


def keeper(folder: Path) -> Iterator[str]:
    """Checkpoints, and now and then a compaction."""
    store = store_in(folder)
    while True:
        for _ in range(3):
            report = write_checkpoint(store)
            yield "checkpoints" if report.verification.sound and report.written else "checkpoints with an alarm"
        compact(store)
        yield "compactions"


WRITERS = {writer.__name__: writer for writer in (appender, registrar, keeper)}


def writing_step(folder: Path, writer: str) -> Callable[[], Found]:
    """A writer, until it is stopped."""
    writes = WRITERS[writer](folder)

    def work() -> Found:
        done: collections.Counter[str] = collections.Counter()
        while not (folder / "stop").exists():
            done[next(writes)] += 1
            time.sleep(PAUSES_S[writer])
        return {"done": done}

    return work


def verifying_step(folder: Path, verifications: int) -> Callable[[], Found]:
    """Verifications, a full one and an incremental one in turn; tells every alarm."""

    def work() -> Found:
        alarms = []
        for at in range(verifications):
            report = verify(store_in(folder), incremental=bool(at % 2))
            if not report.sound:
                found = [*report.broken_chains, *report.broken_logs, *report.broken_manifests]
                alarms.append(f"{at}: {report.unreadable} unreadable, {found[:3]}")
        return {"alarms": alarms}

    return work


def soak(folder: Path, verifications: int) -> None:
    """Verifications in fresh stores of a few hundred each.

    Raises:
        SystemExit: one of them, or a checkpoint, raised an alarm.
    """
    done: collections.Counter[str] = collections.Counter()
    alarms: list[str] = []
    for first in range(0, verifications, A_STORE):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        ring_in(folder)
        step(register_step, folder, source=people_in(folder, PEOPLE), chunks=CHUNKS)
        writers = [Step(writing_step, folder, writer=writer) for writer in WRITERS]
        try:
            alarms += step(verifying_step, folder, verifications=min(A_STORE, verifications - first))["alarms"]
        finally:
            (folder / "stop").touch()
            for writer in writers:
                done.update(writer.found()["done"])
    writes = ", ".join(f"{count:,} {name}" for name, count in done.items())
    check(not alarms and not done["checkpoints with an alarm"], [writes, *alarms[:20]])
    print(f"{verifications:,} verifications, full and incremental in turn, beside writers ({writes}): no alarm")


def main() -> None:
    """Verify beside writers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=RAM / "subject-pipeline-soak", help="made, and removed")
    parser.add_argument("--verifications", type=int, default=1_000)
    options = parser.parse_args()
    try:
        soak(options.folder, options.verifications)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
