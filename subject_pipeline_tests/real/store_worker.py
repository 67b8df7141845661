"""A process that does what it is asked, one line of JSON at a time, to one store, until it is killed.

The arguments are the store's URL, its key ring and a folder for files. It says `ready` once everything is imported, so
that an operation takes as long as the operation does. An answer is written when the operation has returned, so anyone
who reads one knows that the store has acknowledged it.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.audit.events import parse_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import UnknownSubjectError
from subject_pipeline.ingestion.event_files import local_file
from subject_pipeline.ingestion.ingesting import ingest
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.keys.rotation import rotate_ring
from subject_pipeline.manifests.manifest import SubjectManifest
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.whole_store import Verification, verify

Asked = dict[str, Any]


class Worker:
    """One process's view of the store: its log's writer is kept, as a gateway keeps it; all else is opened again."""

    def __init__(self, url: str, ring: Path, folder: Path) -> None:
        self.url, self.ring, self.folder = url, ring, folder
        self.log = AuditLog(self._store())

    def do(self, asked: Asked) -> Any:
        """Do an operation; returns what it says, as plain values."""
        return getattr(self, f"_{asked['do']}")(asked)

    def _store(self) -> SubjectStore:
        return SubjectStore.at(self.url, ring=KeyRingFile(self.ring))

    def _evidence(self) -> ManifestEvidence:
        return ManifestEvidence(self._store(), "machine")

    def _registry(self) -> SubjectRegistry:
        return SubjectRegistry(self._store(), self._evidence())

    def _file(self, asked: Asked, documents: list[Any]) -> Path:
        path = self.folder / f"{asked['number']}-{os.getpid()}.jsonl"  # another process may run it again meanwhile
        path.write_text("".join(f"{json.dumps(one)}\n" for one in documents))
        return path

    def _append(self, asked: Asked) -> list[int]:
        done = self.log.append([parse_event(one) for one in asked["events"]])
        return [sum(not one.new for one in done), 0]

    def _ingest(self, asked: Asked) -> list[int]:
        report = ingest(self.log, [local_file(self._file(asked, asked["events"]))])
        return [report.already_present, report.rejected + len(asked["events"]) - report.events]

    def _put(self, asked: Asked) -> None:
        for document in asked["manifests"]:
            self._registry().put(SubjectManifest.parse(document))

    def _import(self, asked: Asked) -> int:
        path = self._file(asked, asked["manifests"])
        return import_manifests(self._store(), path, evidence=self._evidence()).failed

    def _delete(self, asked: Asked) -> None:
        self._registry().delete(asked["subject"])

    def _compact(self, _asked: Asked) -> int:
        return compact(self._store(), self._evidence()).unexplained

    def _rotate(self, asked: Asked) -> None:
        rotate_ring(self.ring, bytes.fromhex(asked["key"]))

    def _verify(self, asked: Asked) -> Asked:
        options = {"incremental": asked["incremental"], "known_notes": asked["notes"]}
        return _told(verify(self._store(), **options))

    def _checkpoint(self, asked: Asked) -> Asked:
        done = write_checkpoint(self._store(), known_notes=asked["notes"])
        signed = done.written.note if done.written else None
        return {**_told(done.verification), "carried": done.carried, "note": signed}


def _told(report: Verification) -> Asked:
    """What a verification found, as plain values: everything that is not sound is one [what, kind, detail]."""
    problems = [
        *([one.candidate_id, one.kind, one.detail] for one in report.broken_chains),
        *([one.candidate_id, one.kind, one.detail] for one in report.broken_manifests),
        *([f"{one.chunk} {one.segment}", one.kind, one.detail] for one in report.broken_logs),
        *([one.candidate_id, "pending", one.detail] for one in getattr(report, "pending", ())),
    ]
    if report.unreadable:
        problems.append(["chains", "unreadable", f"{report.unreadable} chains"])
    return {"problems": problems, "subjects": report.subjects, "unregistered": report.unregistered}


def main() -> None:
    """Answer every line: `done` with a value, `refused` where no subject has the id, `failed` with a traceback."""
    worker = Worker(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer: Asked = {"done": worker.do(asked)}
        except UnknownSubjectError as error:
            answer = {"refused": str(error)}
        except Exception:  # noqa: BLE001 - whatever it is, the machine must be told
            answer = {"failed": traceback.format_exc()}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
