"""`audit`: append to the audit log, read it, verify it, anchor it."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from subject_pipeline.audit.events import AccessEvent, parse_event, recorded_event
from subject_pipeline.audit.log import AuditLog
from subject_pipeline.audit.reading import show as show_rows
from subject_pipeline.cli.commands.audit_reports import (
    checkpoint_words,
    ingest_words,
    unknown_words,
    verification_json,
    verification_words,
)
from subject_pipeline.cli.progress import bar
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.errors import EventError, SourceError, SubjectPipelineError, UnknownSubjectError
from subject_pipeline.formats.strict_json import unique_keys
from subject_pipeline.ingestion import ingesting
from subject_pipeline.objects.durability import whole_file
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.verification import checkpointing, whole_store
from subject_pipeline.verification.rebuilding import rebuild as rebuild_store


@click.group()
def audit() -> None:
    """Append to the audit log, read it, verify it, anchor it."""


@audit.command()
@click.argument("candidate_id", metavar="ID")
@click.option("--action", required=True, metavar="A", help="What was done; manifest_* is the registry's own.")
@click.option("--actor", metavar="A", help="Who did it. Default: $SUBJECT_ACTOR, else the system user.")
@click.option("--event-id", metavar="E", help="Makes the append idempotent within a month. Default: a random one.")
@click.option("--payload", metavar="FILE|-", help="The answer, as JSON: its result and its hash are recorded.")
@click.option("--dataset", metavar="D", help="The dataset that was touched.")
@click.option("--field", "fields", multiple=True, metavar="F", help="Name of a field touched. May be given again.")
@click.option("--purpose", metavar="P", help="Why.")
@click.option("--trace-id", metavar="T", help="The request's trace.")
@click.option("--ts", metavar="TIME", help="When, RFC 3339 with an offset. Default: now.")
@command_options
def append(
    shell: Shell,
    candidate_id: str,
    action: str,
    actor: str | None,
    event_id: str | None,
    payload: str | None,
    dataset: str | None,
    fields: tuple[str, ...],
    purpose: str | None,
    trace_id: str | None,
    ts: str | None,
) -> None:
    """Append one row to a subject's chain; on disk when this returns."""
    log = AuditLog(shell.open_store(), shell.usable_key_ring())
    event = parse_event(
        {
            "candidate_id": candidate_id,
            "event_id": event_id or uuid.uuid4().hex,
            "ts": ts or log.now(),
            "actor": actor or shell.actor(),
            "action": action,
            "payload": _payload(payload),
            "dataset": dataset,
            "fields": list(fields) or None,
            "purpose": purpose,
            "trace_id": trace_id,
        }
    )
    (done,) = log.append([event], unique=event_id is None)
    log.close()
    seq, mac, outcome = done.seq, done.mac, done.outcome
    if not done.new:
        seq, mac, there = _there(shell, event)
        if outcome == "conflicting" and ts is None and there == event._replace(ts=there.ts):
            outcome = "already_present"  # the same but for the time, which was not given
    conflicting = outcome == "conflicting"
    shell.tell(
        {
            "candidate_id": candidate_id,
            "first_seq": seq,
            "last_seq": seq,
            "mac": mac,
            "appended": int(done.new),
            "conflicting": int(conflicting),
        },
        f"{candidate_id}: nothing was appended: row {seq} has the event id {event.event_id!r} and says otherwise; "
        "give an id of its own to what is another access"
        if conflicting
        else f"{candidate_id}: row {seq} {'appended' if done.new else 'was there already'}, result {event.result}",
    )
    end(SOMETHING_FAILED if conflicting else DONE)


def _payload(source: str | None) -> Any:  # noqa: ANN401 - any JSON
    if source is None:
        return None
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=unique_keys)
    except OSError as error:
        raise SourceError(f"cannot read the payload {source}: {error.strerror}") from error
    except EventError as error:
        raise EventError(f"cannot take the payload {source}: {error}") from None
    except (ValueError, RecursionError) as error:
        # Without the cause: it carries the payload.
        raise EventError(f"the payload {source} is not JSON ({type(error).__name__})") from None


def _there(shell: Shell, event: AccessEvent) -> tuple[int, str, AccessEvent]:
    """Seq and MAC of the row that stands under an event's id, and what it records."""
    for line in show_rows(shell.open_store(), shell.key_ring(), event.candidate_id):
        row = line["row"]
        if row["event_id"] == event.event_id and row["ts"][:7] == event.ts[:7]:
            return row["seq"], line["mac"], recorded_event(row)
    return -1, "", event


@audit.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@command_options
def ingest(shell: Shell, files: tuple[Path, ...]) -> None:
    """Append the access events of .jsonl or .parquet files, each once however often its file is read."""
    sources = [ingesting.EventFile.local(path) for path in files]
    ring = shell.key_ring()
    ring.ring()
    log = AuditLog(shell.open_store(), ring)
    report = ingesting.IngestReport()
    ending = ""
    with bar("read", "events") as shown:
        try:
            ingesting.ingest(log, sources, report=report, progress=lambda done: shown(done, None))
        except SubjectPipelineError as error:
            if not report.events:
                raise
            ending = str(error)
    words = ingest_words(report)
    shell.tell(
        {
            "files": report.files,
            "events": report.events,
            "appended": report.appended,
            "already_present": report.already_present,
            "conflicting": report.conflicting,
            "unregistered": report.unregistered,
            "rejected": report.rejected,
            "rejections": [
                {"file": one.file, "line": one.line, "reason": one.reason, "line_sha256": one.line_sha256}
                for one in report.rejections
            ],
            "dead_letters": report.dead_letters,
            "elapsed_s": round(report.elapsed_s, 3),
        },
        words,
    )
    if shell.as_json:
        say(words)
    if ending:
        say(f"{ending}: what is counted above is done; run the same command again to go on", level="error")
    end(SOMETHING_FAILED if report.rejected or report.conflicting or ending else DONE)


@audit.command()
@click.argument("candidate_id", metavar="ID")
@command_options
def show(shell: Shell, candidate_id: str) -> None:
    """Print a subject's rows, each as stored; nothing is verified."""
    store = shell.existing_store()
    rows = show_rows(store, shell.key_ring(), candidate_id)
    if not rows:
        SubjectRegistry(store).get(candidate_id)  # an error where nobody has this id
    shell.tell({"rows": rows}, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) or "no rows")


@audit.command()
@click.argument("candidate_ids", nargs=-1, metavar="[ID...]")
@click.option("--incremental", is_flag=True, help="Read only what changed since the last checkpoint.")
@click.option("--known-note", "notes", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint's note kept elsewhere: it must be among the stored ones.")  # fmt: skip
@command_options
def verify(shell: Shell, candidate_ids: tuple[str, ...], incremental: bool, notes: tuple[Path, ...]) -> None:
    """Hold chains, logs and manifests to their MACs, links and the last checkpoint; exit 1 if anything is found."""
    ring, store = shell.usable_key_ring(), shell.existing_store()
    with bar("verified", "chunks") as shown:
        report = whole_store.verify(
            store,
            ring,
            candidate_ids=candidate_ids,
            incremental=incremental,
            known_notes=[_note(path) for path in notes],
            watch=lambda _, done, total: shown(done, total),
        )
    if report.sound and len(report.unknown) == len(candidate_ids) > 0:
        raise UnknownSubjectError(unknown_words(report))
    shell.tell(verification_json(report), verification_words(report))
    if shell.as_json:
        say(verification_words(report))
    end(DONE if report.sound and not report.unknown else SOMETHING_FAILED)


@audit.command()
@click.option("--known-note", "notes", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint's note kept elsewhere: it must be among the stored ones.")  # fmt: skip
@command_options
def checkpoint(shell: Shell, notes: tuple[Path, ...]) -> None:
    """Verify what is new since the last checkpoint, then sign the next."""
    ring, store = shell.usable_key_ring(), shell.existing_store()
    with bar("verified", "chunks") as shown:
        report = checkpointing.write_checkpoint(
            store, ring, known_notes=[_note(path) for path in notes], progress=shown
        )
    written = report.written
    shell.tell(
        {
            "number": written.note.number if written else None,
            "root": written.note.root if written else None,
            "time": written.note.time if written else None,
            "note": written.signed if written else None,
            "entries": report.entries,
            "carried": sorted([*report.carried, *report.pending]),
            "verification": verification_json(report.verification),
        },
        checkpoint_words(report),
    )
    if shell.as_json:
        say(checkpoint_words(report))
    end(DONE if written and report.verification.sound else SOMETHING_FAILED)


def _note(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the note {path}: {getattr(error, 'strerror', None) or error}") from error


@audit.command()
@click.argument("candidate_id", metavar="ID")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where the proof goes.")
@command_options
def prove(shell: Shell, candidate_id: str, out: Path) -> None:
    """Write a self-contained proof that the head of a subject's chain is in the latest checkpoint."""
    proof = checkpointing.prove(shell.existing_store(), shell.key_ring(), candidate_id)
    with whole_file(out) as unfinished:
        unfinished.write_text(json.dumps(proof, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    shell.tell(
        {"candidate_id": candidate_id, "seq": proof["seq"], "mac": proof["mac"], "out": str(out)},
        f"{out}: row {proof['seq']} of {candidate_id} is in the latest checkpoint; check it with docs/verify_proof.py",
    )


@click.command()
@command_options
def rebuild(shell: Shell) -> None:
    """Derive everything derived anew from the table and the log: the audit index."""
    with bar("indexed", "chunks") as shown:
        done = rebuild_store(shell.existing_store(), shell.key_ring(), shown)
    shell.tell(
        {"chunks": done.chunks, "segments": done.segments, "removed": done.removed},
        f"audit index of {done.chunks:,} chunks made anew from {done.segments:,} segments",
    )
