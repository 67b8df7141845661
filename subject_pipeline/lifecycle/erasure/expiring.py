"""What certificates name as remaining goes once they are thirty days old: files that were ingested, and old reports."""

import datetime as dt
import hashlib

from subject_pipeline.formats.times import format_time
from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.ingestion.waiting import receipt_key
from subject_pipeline.lifecycle.decision_inbox import DECISION_INBOX
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.traces import REMAINING
from subject_pipeline.lifecycle.stored_findings import KEPT
from subject_pipeline.store.layout import INBOX
from subject_pipeline.store.opened import SubjectStore


def remove_remaining(store: SubjectStore, now: dt.datetime) -> int:
    """Delete the objects that certificates older than thirty days name as holding an id; how many there were.

    Only what was there when the certificate's look was made, and of the inbox only what is ingested: no event is lost.
    A file goes with its receipt, which says its name, and before it, so that it is never ingested again.

    Raises:
        KeyRingError: there is no usable key ring.
        StoreError: the store failed; run it again.
    """
    layout = store.layout()
    until = format_time(now - KEPT)
    looked_at: dict[str, str] = {}
    for certificate in Certificates(store).stored():
        at = certificate.document["looked"]["at"]
        if at <= until:
            for name in certificate.document["remaining"]:
                looked_at[name] = max(at, looked_at.get(name, ""))
    if not looked_at or layout is None:
        return 0
    waits = {item.key for inbox in (EVENT_INBOX, DECISION_INBOX) for item in inbox.waiting(store, layout.log_id)}
    taken = (EVENT_INBOX.takes, DECISION_INBOX.takes)
    gone = [
        item
        for prefix in REMAINING
        for item in store.objects.list(prefix)
        if (at := looked_at.get(item.key) or looked_at.get(_hidden(item.key)))
        and format_time(item.modified) <= at
        and (prefix != INBOX or (item.key not in waits and any(takes(item.key) for takes in taken)))
    ]
    receipts = (receipt_key(item) for item in gone if item.key.startswith(INBOX))
    keys = dict.fromkeys([*(item.key for item in gone), *receipts])
    for key in keys:
        store.objects.delete(key)
    return len(keys)


def _hidden(key: str) -> str:
    """The name of a key that itself holds the id."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
