"""The compliance report: its numbers collected once, and written to the store as page, parquet and CSV."""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from subject_pipeline.domain.compliance import ComplianceNumbers, VerificationHistory
from subject_pipeline.errors import SourceError
from subject_pipeline.storage.key_ring_file import KeyRingFile
from subject_pipeline.storage.manifest_files import whole_file
from subject_pipeline.storage.reports import CONTENTS, StoredReport, contents, write_report
from subject_pipeline.use_cases.compliance_files import PAGE, report_files
from subject_pipeline.use_cases.compliance_numbers import CONCURRENCY, address, collect, utc_now
from subject_pipeline.use_cases.store import SubjectStore
from subject_pipeline.use_cases.verification import Progress


@dataclass(frozen=True, slots=True)
class ComplianceReport:
    """A report that is in the store.

    Attributes:
        stored: where.
        url: of the page.
        files: by name, as they were written.
    """

    numbers: ComplianceNumbers
    stored: StoredReport
    url: str
    files: Mapping[str, bytes]

    @property
    def page_sha256(self) -> str:
        """SHA-256 of the page."""
        return hashlib.sha256(self.files[PAGE]).hexdigest()


def write_compliance_report(
    store: SubjectStore,
    ring: KeyRingFile,
    *,
    pending_days: float,
    known_notes: Sequence[str] = (),
    history: VerificationHistory | None = None,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
    clock: Callable[[], dt.datetime] = utc_now,
) -> ComplianceReport:
    """Collect a report's numbers and write it to `reports/<time>/`; for the arguments see `collect`.

    Raises:
        KeyRingError: there is no usable key ring.
        ConfigurationError: another chunk count is wanted than the store has.
        ConflictError: too many reports are of this second.
        StoreError: the store failed; a report without its page may be there.
    """
    numbers = collect(
        store,
        ring,
        pending_days=pending_days,
        known_notes=known_notes,
        history=history,
        concurrency=concurrency,
        progress=progress,
        clock=clock,
    )
    files = report_files(numbers)
    about = _about(numbers)
    stored = write_report(store.objects, numbers.time, about, files)
    url = address(store.location.child(stored.key(PAGE)))
    return ComplianceReport(numbers, stored, url, {**files, CONTENTS: contents(about, files)})


def _about(numbers: ComplianceNumbers) -> dict[str, Any]:
    return {
        "time": numbers.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "store": numbers.store,
        "table_version": numbers.table_version,
        "checkpoint": asdict(numbers.checkpoint) if numbers.checkpoint else None,
        "headline": numbers.headline,
    }


def copy_report(report: ComplianceReport, folder: Path) -> Path:
    """Write a report's files to a local folder, below a folder of the report's name, which is returned.

    Raises:
        SourceError: the folder cannot be written to.
    """
    target = folder / report.stored.name
    prepare_folder(target)
    for name, data in report.files.items():
        with whole_file(target / name) as unfinished:
            unfinished.write_bytes(data)
    return target


def prepare_folder(folder: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises:
        SourceError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot make the folder {folder}: {error.strerror}") from error
