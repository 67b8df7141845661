"""The compliance report: its numbers collected once, and written to the store as page, parquet and CSV."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from subject_pipeline.errors import SourceError
from subject_pipeline.formats.times import format_time
from subject_pipeline.objects.durability import whole_file
from subject_pipeline.reports.collecting import address
from subject_pipeline.reports.files import PAGE, report_files
from subject_pipeline.reports.numbers import ComplianceNumbers
from subject_pipeline.reports.stored_reports import CONTENTS, StoredReport, contents, write_report
from subject_pipeline.store.opened import SubjectStore


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


def write_compliance_report(store: SubjectStore, numbers: ComplianceNumbers) -> ComplianceReport:
    """Write a report of a store's numbers to `reports/<time>/` there.

    Raises:
        ConflictError: too many reports are of this second.
        StoreError: the store failed; a report without its page may be there.
    """
    files = report_files(numbers)
    about = _about(numbers)
    stored = write_report(store.objects, numbers.time, about, files)
    url = address(store.location.child(stored.key(PAGE)))
    return ComplianceReport(numbers, stored, url, {**files, CONTENTS: contents(about, files)})


def _about(numbers: ComplianceNumbers) -> dict[str, Any]:
    return {
        "time": format_time(numbers.time),
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
