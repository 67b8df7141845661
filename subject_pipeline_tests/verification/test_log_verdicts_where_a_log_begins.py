import json

import pytest

from subject_pipeline.audit.segment import LogHead
from subject_pipeline.verification.log_verdicts import EvidenceRow
from subject_pipeline_tests.helpers.audit_samples import (
    CHUNK,
    LOG_ID,
    NONE,
    OLD_KEY,
    STRANGER,
    A,
    B,
    C,
    D,
    chains_found,
    header_hash,
    heads_of,
    joined,
    judge,
    lines_of,
    logs_found,
    registry_event,
    reseal,
    sample_log,
    signed,
    write_log,
)

LOG = sample_log()


def test_a_log_begins_with_a_segment_that_follows_none() -> None:
    """A first segment that names another before it, under the key's own MAC, is not the log's first."""
    first, *rows = lines_of(LOG[0])
    forged = joined([signed("segment", json.loads(first)["segment"] | {"prev": "d" * 64}), *rows])
    assert logs_found(judge([forged])) == [(0, "bad_segment")]
    assert logs_found(judge([LOG[0]])) == []


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_follows_a_checkpoint_links_to_the_segment_that_it_anchored(at: int) -> None:
    """Judging on from a checkpoint, the next segment must follow the very one that the checkpoint knew."""
    anchored = heads_of(LOG[:at])
    before, bad = header_hash(LOG[at - 1]), [(at, "bad_segment")]
    for sha256, found in ((before, []), ("d" * 64, bad), (NONE, bad)):
        start = LogHead(LOG_ID, CHUNK, at - 1, sha256)
        assert logs_found(judge(LOG[at:], anchored, start=start, resumed=True)) == found


def test_a_line_that_names_nobody_breaks_its_segment_once() -> None:
    """However many there are; the rows around them count."""
    first, *rows = lines_of(LOG[0])
    (sealed,) = reseal([joined([first, rows[0], b"no row", *rows[1:], b'{"row":1}'])])
    verdict = judge([sealed])
    assert logs_found(verdict) == [(0, "bad_segment")]
    assert (verdict.broken, verdict.chains) == ({}, heads_of(LOG[:1]))


@pytest.mark.parametrize("seq", [0, 2, 3])
def test_after_an_unreadable_segment_a_chain_goes_on_from_the_row_that_is_there(seq: int) -> None:
    """What is missing excuses the first gap; a row again, or an earlier one, it does not."""
    first, *rows = lines_of(LOG[3])
    row = json.loads(lines_of(LOG[2])[2])["row"]
    assert (row["candidate_id"], row["seq"]) == (A, 3)
    again = signed("row", row | {"seq": seq, "event_id": "again"})
    log = reseal([*LOG[:3], joined([first, again, *rows[1:]])])
    verdict = judge([log[0], "the store failed", *log[2:]])
    assert chains_found(verdict) == {A: ("bad_seq", 4)}
    assert verdict.unreadable == {B, C, D}


def test_a_row_of_anothers_chunk_hides_nothing_after_it() -> None:
    """The rows after it in its segment are judged as all others are."""
    first, *rows = lines_of(LOG[0])
    stray = signed("row", json.loads(rows[0])["row"] | {"candidate_id": STRANGER, "event_id": "stray"})
    (sealed,) = reseal([joined([first, stray, rows[0], rows[1].replace(b"ada", b"eve"), rows[2]])])
    assert chains_found(judge([sealed])) == {STRANGER: ("wrong_chunk", 0), B: ("bad_mac", 0)}


def test_only_a_sound_segment_says_when_its_rows_were_written() -> None:
    """What a damaged header says of the time makes no announcement young."""
    announced = registry_event(A, "x", "ab" * 32)
    (written,) = write_log([(OLD_KEY, [announced])])
    times = {}
    for data in (written.data, written.data.replace(b'"rows":1', b'"rows":2')):
        verdict = judge([data])
        times[bool(verdict.logs)] = [row.written_at for row in verdict.evidence[A]]
    assert times == {False: ["2026-07-01T00:00:00.000000Z"], True: [""]}
    assert EvidenceRow(verdict.evidence[A][0].evidence).written_at == ""
