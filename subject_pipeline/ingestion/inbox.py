"""The inbox: event files that others put below `inbox/` of the store, each ingested once."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.event_files import is_event_file, local_file
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.ingestion.ingesting import Progress, ingest, raise_unread
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.ingestion.receipts import RECEIPT_DOMAIN, is_receipt, write_receipt
from subject_pipeline.keys.macs import Macs
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.protocol import ObjectInfo, ObjectStore
from subject_pipeline.store.layout import INBOX, RECEIPTS

_COUNTS = ("appended", "already_present", "conflicting", "rejected")
_REMEMBERED = 100_000
_checked: set[tuple[str, str, int, str]] = set()
"""Receipts that this process found to be ours, as they were listed: the inbox's sensor looks every few seconds."""


def waiting(objects: ObjectStore, ring: KeyRingFile | None = None, log_id: str | None = None) -> list[ObjectInfo]:
    """The event files of the inbox that were not ingested as they are now, sorted by name.

    A file that was changed since waits again; its events that the log holds already are then left as they are. So does
    one whose receipt is not ours. Only receipts of files that are still in the inbox are read, each once per process.

    Args:
        objects: the store's.
        ring: the keys that receipts are checked with; without a ring, a receipt that is there is taken as a hint.
        log_id: that of the store's layout; None: the store has none yet, so no receipt can be ours.

    Raises:
        KeyRingError: the ring that is configured cannot be used.
        StoreError: the store failed.
    """
    receipts = {item.key: item for item in objects.list(RECEIPTS)}
    files = [item for item in objects.list(INBOX) if is_event_file(item.key)]
    if ring is None or not ring.configured:
        return [item for item in files if _receipt_key(item) not in receipts]
    ring.ring()
    macs = Macs(ring.key, RECEIPT_DOMAIN)

    def ingested(item: ObjectInfo) -> bool:
        receipt = receipts.get(_receipt_key(item))
        if receipt is None or log_id is None:
            return False
        known = (log_id, receipt.key, receipt.size, receipt.tag)
        if known not in _checked:
            if not is_receipt(objects.get(receipt.key), _about(item, log_id), macs):
                return False
            if len(_checked) >= _REMEMBERED:
                _checked.clear()
            _checked.add(known)
        return True

    return [item for item in files if not ingested(item)]


def ingest_inbox(log: AuditLog, names: Sequence[str] = (), *, progress: Progress | None = None) -> IngestReport:
    """Ingest what waits in the inbox, or the files named, and note each as ingested once all of it is in the log.

    A file that cannot be read, for whatever reason, does not stop the others: it is reported at the end.

    Args:
        log: where the events go.
        names: names below `inbox/`, or paths of local files, ingested whether or not they were before; none:
            everything that waits.
        progress: called after each batch.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: files are not there or cannot be read; all others were ingested.
        AuditLogError: a log is damaged.
        StoreError: the store failed; ingesting again continues.
    """
    log.ring.ring()
    objects = log.store.objects
    inbox = {item.key: item for item in objects.list(INBOX)} if names else {}
    found: Sequence[ObjectInfo | str] = names or waiting(objects, log.ring, log.layout.log_id)
    report = IngestReport()
    unread: list[SourceError] = []
    for each in found:
        try:
            item = _named(each, inbox) if isinstance(each, str) else each
            _ingest_one(log, item, report, progress)
        except SourceError as error:
            unread.append(error)
    raise_unread(unread, len(found))
    return report


def _ingest_one(log: AuditLog, item: ObjectInfo | Path, report: IngestReport, progress: Progress | None) -> None:
    if isinstance(item, Path):
        ingest(log, [local_file(item)], report=report, progress=progress)
        return
    objects = log.store.objects
    before = {name: getattr(report, name) for name in _COUNTS}
    ingest(log, [_file(objects, item.key)], report=report, progress=progress)
    counts = {name: getattr(report, name) - count for name, count in before.items()}
    ring = log.ring.ring()
    about = {**_about(item, log.layout.log_id), **counts}
    objects.replace(_receipt_key(item), write_receipt(about, key_id=ring.active, key=ring.active_key))


def _named(name: str, inbox: dict[str, ObjectInfo]) -> ObjectInfo | Path:
    found = inbox.get(INBOX + name.removeprefix(INBOX))
    if found is not None:
        return found
    path = Path(name)
    if not path.is_file():
        raise SourceError(f"cannot ingest {name!r}: neither the inbox nor the local disk has such a file")
    return path


def _file(objects: ObjectStore, key: str) -> LineFile:
    return LineFile(key, lambda: closing(objects.open(key)))


def _about(item: ObjectInfo, log_id: str) -> dict[str, str | int]:
    """What a receipt must say to be one of this file, as it is now, for this log."""
    return {"log_id": log_id, "file": item.key, "size": item.size, "tag": item.tag}


def _receipt_key(item: ObjectInfo) -> str:
    text = f"{item.key}\0{item.size}\0{item.tag}"
    return f"{RECEIPTS}{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
