"""The inbox: event files that others put below `inbox/` of the store, each ingested once."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from subject_pipeline.errors import SourceError
from subject_pipeline.storage.event_files import is_event_file
from subject_pipeline.storage.objects import ObjectInfo, ObjectStore
from subject_pipeline.use_cases.audit_log import AuditLog
from subject_pipeline.use_cases.ingestion import EventFile, IngestReport, Progress, ingest

INBOX = "inbox/"
_RECEIPTS = "catalog/ingested/"


def waiting(objects: ObjectStore) -> list[ObjectInfo]:
    """The event files of the inbox that were not ingested as they are now, sorted by name.

    A file that was changed since waits again; its events that the log holds already are then left as they are.

    Raises:
        StoreError: the store failed.
    """
    receipts = {item.key for item in objects.list(_RECEIPTS)}
    files = [item for item in objects.list(INBOX) if is_event_file(item.key)]
    return [item for item in files if _receipt_key(item) not in receipts]


def ingest_inbox(log: AuditLog, names: Sequence[str] = (), *, progress: Progress | None = None) -> IngestReport:
    """Ingest what waits in the inbox, or the files named, and note each as ingested once all of it is in the log.

    A file that cannot be read stops no other: it is told of at the end.

    Args:
        log: where the events go.
        names: names below `inbox/`, or paths of local files, ingested whether or not they were before; none: whatever
            waits.
        progress: told after each batch.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: files are not there or cannot be read; all others were ingested.
        AuditLogError: a log is damaged.
        StoreError: the store failed; ingesting again goes on.
    """
    log.ring.ring()
    objects = log.store.objects
    inbox = {item.key: item for item in objects.list(INBOX)} if names else {}
    found: Sequence[ObjectInfo | str] = names or waiting(objects)
    report = IngestReport()
    unread: list[SourceError] = []
    for each in found:
        try:
            item = _named(each, inbox) if isinstance(each, str) else each
            _ingest_one(log, item, report, progress)
        except SourceError as error:
            unread.append(error)
    if len(unread) > 1:
        raise SourceError(
            f"{len(unread):,} of {len(found):,} files were not ingested, all others are. First: {unread[0]}"
        ) from unread[0]
    if unread:
        raise unread[0]
    return report


def _ingest_one(log: AuditLog, item: ObjectInfo | Path, report: IngestReport, progress: Progress | None) -> None:
    if isinstance(item, Path):
        ingest(log, [EventFile.local(item)], report=report, progress=progress)
        return
    objects = log.store.objects
    before = (report.appended, report.already_present, report.rejected)
    ingest(log, [_file(objects, item.key)], report=report, progress=progress)
    after = (report.appended, report.already_present, report.rejected)
    counts = dict(zip(("appended", "already_present", "rejected"), map(int.__sub__, after, before), strict=True))
    receipt = {"schema": "subject_receipt.v1", "file": item.key, "size": item.size, "tag": item.tag, **counts}
    objects.replace(_receipt_key(item), json.dumps(receipt, ensure_ascii=False).encode() + b"\n")


def _named(name: str, inbox: dict[str, ObjectInfo]) -> ObjectInfo | Path:
    found = inbox.get(INBOX + name.removeprefix(INBOX))
    if found is not None:
        return found
    path = Path(name)
    if not path.is_file():
        raise SourceError(f"cannot ingest {name!r}: neither the inbox nor the local disk has such a file")
    return path


def _file(objects: ObjectStore, key: str) -> EventFile:
    return EventFile(key, lambda: closing(objects.open(key)))


def _receipt_key(item: ObjectInfo) -> str:
    text = f"{item.key}\0{item.size}\0{item.tag}"
    return f"{_RECEIPTS}{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
