"""Dossiers as folders: recorded as an access first, then there whole or not at all."""

import datetime as dt
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subject_pipeline.anchoring.proving import prove
from subject_pipeline.audit.events import new_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.checkpoints.proofs import HISTORY
from subject_pipeline.errors import CheckpointError, SourceError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.dossier.contents import EVERYTHING, PAGE, Contents, Wanted
from subject_pipeline.lifecycle.dossier.own_rows import own_rows
from subject_pipeline.lifecycle.dossier.page import page
from subject_pipeline.lifecycle.history.telling import Record
from subject_pipeline.objects.durability import sync_file, sync_folders
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification.questionable import ANSWERED, OWN_REQUEST

ACTION = "dossier"
"""What the access is recorded as."""

_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Dossier:
    """What was written.

    Attributes:
        files: names in the folder, sorted.
        unread: datasets whose sources could not be read.
        retired: datasets that are not registered any more.
        unproved: why there is no proof; empty where there is one.
    """

    contents: Contents
    files: list[str]
    unread: list[str]
    retired: list[str]
    unproved: str


def write_dossier(
    store: SubjectStore,
    candidate_id: str,
    out: Path,
    *,
    actor: str,
    wanted: Wanted = EVERYTHING,
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> Dossier:
    """Write what is held about a person to a new folder that only its owner can open.

    The access is in the log, with the purpose `data_subject_request`, before the folder has its name.

    Args:
        store: where they are on record.
        candidate_id: who asked.
        out: the folder, which must not exist.
        actor: who makes it.
        wanted: what is in it.
        clock: gives the dossier's time.

    Raises:
        SourceError: the folder exists, or cannot be written; nothing was recorded in the first case.
        KeyRingError: there is no usable key ring.
        UnknownSubjectError: nobody has this id.
        AuditLogError: the chain is broken.
        CheckpointError: the latest checkpoint does not hold.
        StoreError: the store failed.
    """
    store.ring.ring()
    if out.exists() or out.is_symlink():
        raise SourceError(f"cannot write {out}: it exists already; a dossier gets a new folder")
    if not out.absolute().parent.is_dir():
        raise SourceError(f"cannot write {out}: its parent folder does not exist")
    Record.of(store, candidate_id)
    time = format_time(clock())
    _record(store, candidate_id, actor, time)
    record = Record.of(store, candidate_id)
    own = list(own_rows(store, record.manifest, read=wanted.source)) if record.manifest is not None else []
    proved, unproved = _proof(store, record) if wanted.proof else (None, "it was left out")
    contents = Contents(record, time, wanted.actors, own, proved, unproved)
    files = {**contents.files(), PAGE: page(contents).encode("utf-8", "backslashreplace")}
    _write(out, files)
    return Dossier(
        contents,
        sorted(files),
        [one.reference.name for one in own if wanted.source and one.rows is None and not one.retired],
        [one.reference.name for one in own if one.retired],
        unproved,
    )


def _record(store: SubjectStore, candidate_id: str, actor: str, time: str) -> None:
    log = AuditLog(store)
    made = new_event(
        candidate_id=candidate_id,
        event_id=uuid.uuid4().hex,
        ts=time,
        actor=actor,
        action=ACTION,
        result=ANSWERED,
        optional={"purpose": OWN_REQUEST},
    )
    log.append([made], unique=True)
    log.close()


def _proof(store: SubjectStore, record: Record) -> tuple[Mapping[str, Any] | None, str]:
    """The proof, or in words why there is none."""
    if record.anchoring is None:
        return None, "no checkpoint was signed yet that could be checked"
    if record.anchoring.entry is None:
        return None, f"your record is newer than checkpoint {record.anchoring.number}, the latest"
    try:
        return prove(store, record.candidate_id, HISTORY).proof, ""
    except CheckpointError as error:
        return None, f"it could not be made: {error}"


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder whole: it takes its name once everything in it is on disk."""
    unfinished = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        unfinished.mkdir(_PRIVATE)
        unfinished.chmod(_PRIVATE)
        for name, data in files.items():
            path = unfinished / name
            path.parent.mkdir(_PRIVATE, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
            sync_file(path)
        sync_folders([unfinished, *{(unfinished / name).parent for name in files}])
        if out.exists():
            raise SourceError(f"cannot write {out}: somebody else has made it meanwhile")
        unfinished.rename(out)
        sync_folders([unfinished.parent])
    except OSError as error:
        raise SourceError(f"cannot write {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
