"""Records one change each of many subjects on condition that nobody has changed them, and says whose it got."""

from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from subject_pipeline.audit.events import AccessEvent
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import OvertakenError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore


def record_first(pipe: Connection, url: str, ring: Path, chunk: str, changes: Sequence[AccessEvent]) -> None:
    """Says that it is ready, and begins when it is told to."""
    log = AuditLog(SubjectStore.at(url, ring=KeyRingFile(ring)))
    pipe.send("ready")
    pipe.recv()
    won = []
    for change in changes:
        try:
            log.append_to(chunk, [change], unique=True, after={change.candidate_id: -1})
        except OvertakenError:
            continue
        won.append(change.candidate_id)
    pipe.send(won)
