"""Appends rows one by one and prints the id of each event that is acknowledged, until it is killed or done."""

import os
import sys
from pathlib import Path

from subject_pipeline.audit.events import new_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore

folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
url = os.environ.get("APPEND_STORE", str(folder / "store"))
log = AuditLog(SubjectStore.at(url, wanted_chunks=1, ring=KeyRingFile(folder / "ring.json")))
for number in range(count):
    event = new_event(
        candidate_id=f"P-{number % 3}",
        event_id=f"{name}-{number}",
        ts="2026-06-30T12:00:00Z",
        actor=name,
        action="view",
        result="success",
    )
    log.append([event])
    sys.stdout.write(f"{event.event_id}\n")
    sys.stdout.flush()
log.close()
