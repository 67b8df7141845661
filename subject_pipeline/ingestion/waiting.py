"""Files that others put below `inbox/` of the store: which of them wait, and the receipt of one that was taken."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.ingestion.receipts import RECEIPT_DOMAIN, is_receipt, write_receipt
from subject_pipeline.keys.macs import Macs
from subject_pipeline.objects.protocol import ObjectInfo, ObjectStore
from subject_pipeline.store.layout import RECEIPTS
from subject_pipeline.store.opened import SubjectStore

_REMEMBERED = 100_000
_checked: set[tuple[str, str, int, str]] = set()
"""Receipts that this process found to be ours, as they were listed: the inbox's sensor looks every few seconds."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """One kind of files that others put below `inbox/`.

    Attributes:
        below: where they are.
        content: what messages call them.
        takes: whether a key's name says that it is one.
    """

    below: str
    content: str
    takes: Callable[[str], bool]

    def waiting(self, store: SubjectStore, log_id: str | None = None) -> list[ObjectInfo]:
        """The files that were not taken as they are now, sorted by name.

        A file that was changed since waits again; what is recorded of it already is left as it is. So does one whose
        receipt is not ours. Only receipts of files that are still in the inbox are read, each once per process.

        Args:
            store: whose inbox; without a key ring to check receipts with, one that is there is taken as a hint.
            log_id: that of the store's layout; None: the store has none yet, so no receipt can be ours.

        Raises:
            KeyRingError: the ring that is configured cannot be used.
            StoreError: the store failed.
        """
        objects, ring = store.objects, store.ring
        receipts = {item.key: item for item in objects.list(RECEIPTS)}
        files = [item for item in objects.list(self.below) if self.takes(item.key)]
        if not ring.configured:
            return [item for item in files if receipt_key(item) not in receipts]
        ring.ring()
        macs = Macs(ring.key, RECEIPT_DOMAIN)

        def ingested(item: ObjectInfo) -> bool:
            receipt = receipts.get(receipt_key(item))
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

    def chosen(
        self, store: SubjectStore, names: Sequence[str], digests: Collection[str], log_id: str | None
    ) -> Sequence[ObjectInfo | Path | SourceError]:
        """The files that a run takes: those named, else those that wait, of them those with a digest if any is given.

        Raises:
            KeyRingError: the ring cannot be used.
            StoreError: the store failed.
        """
        if names:
            return self.named(store.objects, names)
        waiting = self.waiting(store, log_id)
        return [item for item in waiting if file_digest(item) in digests] if digests else waiting

    def named(self, objects: ObjectStore, names: Sequence[str]) -> list[ObjectInfo | Path | SourceError]:
        """Files by their names below the inbox, or by local paths, whether or not they were taken before.

        An error in the place of one that is neither.

        Raises:
            StoreError: the store failed.
        """
        there = {item.key: item for item in objects.list(self.below)}
        found: list[ObjectInfo | Path | SourceError] = []
        for name in names:
            item = there.get(self.below + name.removeprefix(self.below))
            if item is None and not Path(name).is_file():
                found.append(
                    SourceError(f"cannot take {name!r}: neither {self.below} nor the local disk has such a file")
                )
            else:
                found.append(item or Path(name))
        return found


def stored_file(objects: ObjectStore, key: str) -> LineFile:
    """A file of the store, to be read line by line."""
    return LineFile(key, lambda: closing(objects.open(key)))


def write_receipt_of(store: SubjectStore, log_id: str, item: ObjectInfo, counts: Mapping[str, int]) -> None:
    """Note that a file was taken whole, as it was listed.

    Raises:
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    keys = store.ring.ring()
    about = {**_about(item, log_id), **counts}
    store.objects.replace(receipt_key(item), write_receipt(about, key_id=keys.active, key=keys.active_key))


def _about(item: ObjectInfo, log_id: str) -> dict[str, str | int]:
    """What a receipt must say to be one of this file, as it is now, for this log."""
    return {"log_id": log_id, "file": item.key, "size": item.size, "tag": item.tag}


def file_digest(item: ObjectInfo) -> str:
    """32 hex digits of a file's name, size and tag, as listed: they say which, and its name may name a person."""
    text = f"{item.key}\0{item.size}\0{item.tag}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def receipt_key(item: ObjectInfo) -> str:
    """Where the receipt of a file is, as it was listed."""
    return f"{RECEIPTS}{file_digest(item)}.json"
