"""Records one change each of many subjects on condition that nobody has changed them, and prints whose it got."""

import sys
from pathlib import Path

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import OvertakenError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline_tests.changes.test_registry_rows import CHUNK, recorded
from subject_pipeline_tests.helpers.audit_stores import people

url, ring, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
log = AuditLog(SubjectStore.at(url), KeyRingFile(ring))
sys.stdout.write("ready\n")
sys.stdout.flush()
sys.stdin.readline()
for one in people(0, 30):
    try:
        log.append_to(CHUNK, [recorded(one, f"{name}-{one}")], unique=True, after={one: -1})
    except OvertakenError:
        continue
    sys.stdout.write(f"{one}\n")
    sys.stdout.flush()
