import json

import pytest

from subject_pipeline.domain.audit_segments import LogHead
from subject_pipeline_tests.domain.audit_samples import (
    CHUNK,
    LOG_ID,
    NONE,
    A,
    B,
    C,
    D,
    chains_found,
    heads_of,
    joined,
    judge,
    lines_of,
    logs_found,
    reseal,
    sample_log,
    signed,
)

LOG = sample_log()


def header_mac(segment: bytes) -> str:
    """The MAC of a segment's header."""
    mac: str = json.loads(lines_of(segment)[0])["mac"]
    return mac


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
    for mac, found in ((header_mac(LOG[at - 1]), []), ("d" * 64, [(at, "bad_segment")]), (NONE, [(at, "bad_segment")])):
        start = LogHead(LOG_ID, CHUNK, at - 1, mac)
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
