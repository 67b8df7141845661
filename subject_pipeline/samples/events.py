"""Sample access events: who accessed which of the sample people, with what result; the same bytes for the same seed."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import polars_hash as plh

from subject_pipeline.errors import SourceError
from subject_pipeline.objects.durability import whole_file

# A fixed day, because a clock would give other bytes on every call.
SAMPLE_UNTIL = dt.datetime(2026, 6, 30, tzinfo=dt.UTC)
_FIRST_ID = 100_001  # of the sample people
_MOST_PEOPLE = 1_000
_EVENTS_A_PERSON = 10

_AGENTS = "matcher outreach scheduler screener payroll_sync timesheet_import credential_check concierge"
_USERS = (
    "a.alvarez b.becker c.costa d.davies e.eriksen f.fischer g.gupta h.hansen i.ito j.jones k.khan l.larsen m.mensah "
    "n.novak o.okafor p.patel q.quinn r.rossi s.sato t.tanaka u.usman v.vargas w.weber y.young"
)
_ACTORS = [f"agent:{name}" for name in _AGENTS.split()] + [f"user:{name}" for name in _USERS.split()]

# (how many of a hundred, action, fields touched)
_ACTIONS = (
    (34, "view_profile", '["name","trade","region"]'),
    (22, "search", '["trade","region"]'),
    (14, "match_job", '["trade","region","active"]'),
    (8, "update_contact", '["email","phone"]'),
    (6, "read_documents", '["certifications"]'),
    (5, "send_message", '["phone"]'),
    (4, "update_availability", '["active"]'),
    (3, "export", '["name","trade","region","hourly_rate"]'),
    (3, "read_timesheet", '["hourly_rate"]'),
    (1, "read_background_check", '["background_check"]'),
)
# (how many of a thousand, payload)
_PAYLOADS = (
    (550, '{"status":200,"rows":1}'),
    (200, '{"status":200,"rows":12,"error":null}'),
    (80, '{"status":"ok"}'),
    (50, '{"status":204}'),
    (30, '{"denied":false,"rows":3}'),
    (12, '{"denied":true,"reason":"purpose not allowed"}'),
    (12, '{"status":403}'),
    (6, '{"status":"401","message":"token expired"}'),
    (6, '{"status":"Forbidden"}'),
    (4, '{"denied":"consent withdrawn","error":"refused"}'),
    (10, '{"error":"timeout"}'),
    (8, '{"status":500}'),
    (6, '{"status":"failed","attempts":3}'),
    (4, '{"error":{"code":"E_UPSTREAM"},"status":502}'),
    (2, '{"status":"429"}'),
    (8, '{"status":404}'),
    (6, '{"status":"not-found"}'),
    (4, '{"not_found":true}'),
    (2, '{"status":410,"rows":0}'),
)
_DATASETS = ((7, "workers"), (2, "placements"), (1, "timesheets"))
_PURPOSES = ((5, "job_matching"), (2, "payroll"), (2, "worker_request"), (1, "compliance_review"))


def people_of(rows: int) -> int:
    """How many people so many events are about by default: a tenth of them, at least one, at most 1,000."""
    return max(1, min(rows // _EVENTS_A_PERSON, _MOST_PEOPLE))


def sample_events(
    rows: int,
    path: Path,
    *,
    people: int | None = None,
    prefix: str = "WORKER-",
    seed: int = 7,
    days: int = 90,
    until: dt.datetime = SAMPLE_UNTIL,
) -> int:
    """Write access events about the people of `sample_workers`, one JSON object a line, in the order of their time.

    Fields: `event_id` (unique, over seeds too), `candidate_id`, `ts` (RFC 3339, UTC, six decimals), `actor`, `action`,
    `payload` (about 91 % successes, 4 % denied, 3 % errors, 2 % not found, in the forms that tools use), and,
    absent where not given, `dataset`, `fields`, `purpose`, `trace_id`.

    Args:
        rows: how many events.
        path: the file; it appears whole or not at all.
        people: how many people they are about, from 1; by default as `people_of`.
        prefix: what their ids begin with, before the number.
        seed: another seed gives other events.
        days: over how many days before `until` they are spread, from 1.
        until: after the last event; aware.

    Returns:
        How many bytes were written.

    Raises:
        SourceError: the file cannot be written, or the prefix is not Unicode text.
    """
    everyone = people_of(rows) if people is None else people
    span = dt.timedelta(days=days)
    first = until.astimezone(dt.UTC).replace(tzinfo=None) - span
    at = pl.col("at").cast(pl.String)
    # As in sample_workers, XXH64 of the row number replaces a random generator.
    number = plh.concat_str(pl.lit(f"event:{seed}"), at, separator=":").nchash

    def pick(salt: int, values: Sequence[str]) -> pl.Expr:
        return pl.lit(pl.Series(values)).gather(number.xxhash64(seed=salt) % len(values))

    def sometimes(salt: int, percent: int, member: pl.Expr) -> pl.Expr:
        return pl.when(number.xxhash64(seed=salt) % 100 < percent).then(member).otherwise(pl.lit(""))

    microseconds = (number.xxhash64(seed=1) % (span // dt.timedelta(microseconds=1))).cast(pl.Int64)
    trace = plh.concat_str(pl.lit(f"trace:{seed}"), at, separator=":").chash.sha2_256().str.slice(0, 32)
    line = pl.concat_str(
        pl.lit(f'{{"event_id":"ev-{seed}-'),
        at,
        pl.lit(f'","candidate_id":"{_escaped(prefix)}'),
        _FIRST_ID + number.xxhash64(seed=2) % everyone,
        pl.col("ts").dt.strftime('","ts":"%Y-%m-%dT%H:%M:%S%.6fZ","actor":"'),
        pick(3, _ACTORS),
        pl.lit('","action":"'),
        pick(4, _spread((share, action) for share, action, _ in _ACTIONS)),
        pl.lit('","payload":'),
        pick(5, _spread(_PAYLOADS)),
        sometimes(6, 60, pl.format(',"dataset":"{}"', pick(7, _spread(_DATASETS)))),
        # The salt of the action: its fields are its own.
        sometimes(8, 50, pl.format(',"fields":{}', pick(4, _spread((share, f) for share, _, f in _ACTIONS)))),
        sometimes(9, 40, pl.format(',"purpose":"{}"', pick(10, _spread(_PURPOSES)))),
        sometimes(11, 70, pl.format(',"trace_id":"{}"', trace)),
        pl.lit("}"),
    )
    events = (
        pl.select(at=pl.int_range(rows, dtype=pl.Int64))
        .with_columns(ts=pl.lit(first) + pl.duration(microseconds=microseconds))
        .sort("ts", "at")
        .select(line)
    )
    with whole_file(path) as unfinished:
        path.parent.mkdir(parents=True, exist_ok=True)
        events.write_csv(unfinished, include_header=False, quote_style="never")
        return unfinished.stat().st_size


def _spread(shares: Iterable[tuple[int, str]]) -> list[str]:
    """Each text as often as its share, so that an even choice among them is by share."""
    return [text for share, text in shares for _ in range(share)]


def _escaped(prefix: str) -> str:
    try:
        prefix.encode()
    except UnicodeEncodeError as error:
        raise SourceError("cannot write sample events: the prefix of the ids is not Unicode text") from error
    return json.dumps(prefix, ensure_ascii=False)[1:-1]
