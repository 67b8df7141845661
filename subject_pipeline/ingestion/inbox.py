"""The inbox: event files that others put below `inbox/` of the store, each ingested once."""

from collections.abc import Collection, Sequence
from pathlib import Path

from subject_pipeline.audit.log import AuditLog
from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.event_files import is_event_file, local_file
from subject_pipeline.ingestion.ingest_report import IngestReport
from subject_pipeline.ingestion.ingesting import Progress, ingest, raise_unread
from subject_pipeline.ingestion.waiting import Inbox, stored_file, write_receipt_of
from subject_pipeline.objects.protocol import ObjectInfo
from subject_pipeline.store.layout import DECISIONS_INBOX, INBOX

_COUNTS = ("appended", "already_present", "conflicting", "rejected")
EVENT_INBOX = Inbox(INBOX, "event files", lambda key: is_event_file(key) and not key.startswith(DECISIONS_INBOX))


def ingest_inbox(
    log: AuditLog,
    names: Sequence[str] = (),
    *,
    digests: Collection[str] = (),
    progress: Progress | None = None,
) -> IngestReport:
    """Ingest what waits in the inbox, or the files named, and note each as ingested once all of it is in the log.

    A file that cannot be read, for whatever reason, does not stop the others: it is reported at the end.

    Args:
        log: where the events go.
        names: names below `inbox/`, or paths of local files, ingested whether or not they were before; none:
            everything that waits.
        digests: of everything that waits, only files with one of these (`file_digest`); none: all of it.
        progress: called after each batch.

    Raises:
        KeyRingError: there is no usable key ring.
        SourceError: files are not there or cannot be read; all others were ingested.
        AuditLogError: a log is damaged.
        StoreError: the store failed; ingesting again continues.
    """
    log.store.ring.ring()
    found = EVENT_INBOX.chosen(log.store, names, digests, log.layout.log_id)
    report = IngestReport()
    unread: list[SourceError] = []
    for item in found:
        try:
            if isinstance(item, SourceError):
                raise item
            _ingest_one(log, item, report, progress)
        except SourceError as error:
            unread.append(error)
    raise_unread(unread, len(found))
    return report


def _ingest_one(log: AuditLog, item: ObjectInfo | Path, report: IngestReport, progress: Progress | None) -> None:
    if isinstance(item, Path):
        ingest(log, [local_file(item)], report=report, progress=progress)
        return
    before = {name: getattr(report, name) for name in _COUNTS}
    ingest(log, [stored_file(log.store.objects, item.key)], report=report, progress=progress)
    counts = {name: getattr(report, name) - count for name, count in before.items()}
    write_receipt_of(log.store, log.layout.log_id, item, counts)
