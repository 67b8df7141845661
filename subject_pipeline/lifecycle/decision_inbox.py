"""The inbox of decisions: files that others put below `inbox/decisions/` of the store, each applied once.

Who may write there may decide about people: both names in a decision are claims, and access to this folder is the
control.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from subject_pipeline.errors import SourceError
from subject_pipeline.ingestion.ingesting import raise_unread
from subject_pipeline.ingestion.line_files import LineFile
from subject_pipeline.ingestion.waiting import Inbox, stored_file, write_receipt_of
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.applying_files import DecisionReport, apply_files
from subject_pipeline.lifecycle.decision_files import ENDINGS
from subject_pipeline.store.layout import DECISIONS_INBOX
from subject_pipeline.store.opened import SubjectStore

_COUNTS = ("applied", "already_applied", "rejected", "undecided")


def _is_decision_file(key: str) -> bool:
    path = Path(key)
    return path.suffix in ENDINGS and not path.name.startswith((".", "_"))


DECISION_INBOX = Inbox(DECISIONS_INBOX, "decision files", _is_decision_file)


def apply_inbox(
    store: SubjectStore, actor: str, names: Sequence[str] = (), *, digests: Collection[str] = ()
) -> DecisionReport:
    """Apply what waits in the inbox, or the files named, and note each as taken once all of it was judged.

    A file that cannot be read, for whatever reason, does not stop the others: it is reported at the end.

    Args:
        store: whose inbox.
        actor: who records; who decided is in each decision.
        names: names below `inbox/decisions/`, or paths of local files, taken whether or not they were before; none:
            everything that waits.
        digests: of everything that waits, only files with one of these (`file_digest`); none: all of it.

    Raises:
        KeyRingError: there is no usable key ring.
        PolicyError: the stored policies cannot be used.
        SourceError: files are not there or cannot be read; all others were applied.
        AuditLogError: a log is damaged.
        StoreError: the store failed; applying again continues.
    """
    store.ring.ring()
    layout, objects = store.layout(), store.objects
    log_id = layout.log_id if layout else None
    found = DECISION_INBOX.chosen(store, names, digests, log_id)
    report, unread = DecisionReport(), list[SourceError]()
    decisions = Decisions(store, actor)
    try:
        for item in found:
            before = {name: getattr(report, name) for name in _COUNTS}
            try:
                if isinstance(item, SourceError):
                    raise item
                file = LineFile.local(item, ENDINGS) if isinstance(item, Path) else stored_file(objects, item.key)
                apply_files(decisions, objects, [file], report)
            except SourceError as error:
                unread.append(error)
                continue
            if log_id is not None and not isinstance(item, Path):
                counts = {name: getattr(report, name) - count for name, count in before.items()}
                write_receipt_of(store, log_id, item, counts)
    finally:
        decisions.close()
    raise_unread(unread, len(found))
    return report
