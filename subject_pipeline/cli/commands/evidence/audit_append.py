"""`audit append`: one row of the audit log, by hand; it loads no more than a gateway does."""

import json
import sys
import uuid
from pathlib import Path
from typing import Any

import click

from subject_pipeline.audit.events import AccessEvent, parse_event, recorded_event
from subject_pipeline.audit.reading import show as show_rows
from subject_pipeline.checkpoints.signed_layout import open_audit_log
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end
from subject_pipeline.errors import EventError, SourceError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.formats.leaves import leaf_hash
from subject_pipeline.formats.strict_json import unique_keys


@click.command()
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
    log = open_audit_log(shell.keyed_store(new=True))
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
    seq, sha256, mac, outcome = done.seq, done.row_sha256, done.mac, done.outcome
    if not done.new:
        seq, sha256, mac, there = _there(shell, event)
        if outcome == "conflicting" and ts is None and there == event._replace(ts=there.ts):
            outcome = "already_present"  # the same except for the time, which was not given
    conflicting = outcome == "conflicting"
    shell.tell(
        {
            "candidate_id": candidate_id,
            "first_seq": seq,
            "last_seq": seq,
            "row_sha256": sha256,
            "mac": mac,
            "appended": int(done.new),
            "conflicting": int(conflicting),
        },
        f"{candidate_id}: nothing was appended: row {seq} has the event id {event.event_id!r} and other content; "
        "if this is another access, give it an id of its own"
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


def _there(shell: Shell, event: AccessEvent) -> tuple[int, str, str, AccessEvent]:
    """Seq, leaf hash and MAC of the row under an event's id, and what it records."""
    for line in show_rows(shell.open_store(), event.candidate_id):
        row = line["row"]
        if row["event_id"] == event.event_id and row["ts"][:7] == event.ts[:7]:
            return row["seq"], leaf_hash(canonical_json(row)).hex(), line["mac"], recorded_event(row)
    return -1, "", "", event
