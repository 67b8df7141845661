"""Judging without a key: everything but what MACs are."""

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.segment import LogHead
from subject_pipeline_tests.helpers.audit_samples import (
    CHUNK,
    LOG_ID,
    NEW_KEY,
    OLD_KEY,
    RING,
    START,
    STRANGE_KEY,
    STRANGER,
    A,
    B,
    C,
    D,
    chains_found,
    event,
    header_hash,
    heads_of,
    joined,
    judge,
    key_id,
    lines_of,
    logs_found,
    rechain,
    registry_event,
    reseal,
    sample_log,
    write_log,
)

LOG = sample_log()  # A0 B0 A1 | C0 A2 | B1 A3 C1 | A4 D0 B2
ANCHORS = heads_of(LOG)
SMALL = [
    written.data
    for written in write_log(
        [
            (OLD_KEY, [event(A, "1"), event(B, "1", dataset="löhne", fields=("name",))]),
            (NEW_KEY, [registry_event(A, f"{'1' * 32}.x", "ab" * 32), event(A, "2")]),
        ]
    )
]


def _macs(segment: bytes) -> list[int]:
    """Where the digits of MACs stand in a segment."""
    return [at for found in re.finditer(rb'\{"mac":"([0-9a-f]{64})"', segment) for at in range(*found.span(1))]


def test_a_sound_log_is_sound_to_anybody() -> None:
    """Rows are counted and chains end where they end, as for a holder of the keys."""
    verdict, keyed = judge(LOG, ANCHORS, keys=None), judge(LOG, ANCHORS)
    assert verdict == keyed
    assert (verdict.broken, verdict.logs, verdict.chains) == ({}, [], ANCHORS)
    assert verdict.head == LogHead(LOG_ID, CHUNK, 3, header_hash(LOG[3]))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_a_mac_is_anybody_takes_as_it_comes(at: int) -> None:
    """Another value of a MAC, in a header or in a row, and a key that nobody knows, are not anybody's to judge."""
    lines = lines_of(LOG[1])
    lines[at] = lines[at][:8] + b"0123456789abcdef" * 4 + lines[at][72:]
    changed = [LOG[0], joined(lines), *LOG[2:]]
    assert judge(changed, ANCHORS, keys=None) == judge(LOG, ANCHORS)
    keyed = judge(changed, ANCHORS)
    assert keyed.broken or keyed.logs

    stranger = [one.data for one in write_log([(STRANGE_KEY, [event(A, "1")])])]
    assert not judge(stranger, keys=None).broken
    assert chains_found(judge(stranger)) == {A: ("unknown_key", 0)}


@pytest.mark.parametrize(
    "change",
    [
        bytes.upper,
        lambda mac: b"g" + mac[1:],
        lambda mac: mac[1:],
        lambda mac: mac + b"0",
        lambda _: b"",
        lambda mac: b" " + mac[1:],
        lambda mac: mac[:-1] + b"\xb2",
        lambda mac: b"\\u" + mac[2:],
    ],
)
def test_a_mac_of_another_form_is_malformed(change: Callable[[bytes], bytes]) -> None:
    """64 lower-case hex digits, in a row and in a header, anyone who judges."""
    for keys in (None, RING):
        lines = lines_of(LOG[1])
        lines[2] = lines[2][:8] + change(lines[2][8:72]) + lines[2][72:]
        verdict = judge([LOG[0], joined(lines), *LOG[2:]], keys=keys)
        named = lines[2].decode(errors="ignore").encode() == lines[2]  # what is no UTF-8 names nobody
        assert chains_found(verdict) == {A: ("malformed" if named else "bad_seq", 2)}

        lines = lines_of(LOG[1])
        lines[0] = lines[0][:8] + change(lines[0][8:72]) + lines[0][72:]
        verdict = judge([LOG[0], joined(lines), *LOG[2:]], keys=keys)
        assert (verdict.broken, logs_found(verdict)) == ({}, [(1, "bad_segment")])


TAMPERED: dict[str, tuple[Callable[[list[bytes]], list[bytes | None]], dict[str, tuple[str, int]], list[int]]] = {
    "a row changed": (
        lambda log: [log[0], log[1].replace(b"payroll", b"another"), *log[2:]],
        {A: ("bad_prev", 3)},
        [1],
    ),
    "a last row changed": (lambda log: [*log[:3], log[3].replace(b'"d0"', b'"d9"')], {}, [3]),
    "a row changed, its header made again": (
        lambda log: [log[0], *reseal([log[0], log[1].replace(b"payroll", b"another"), *log[2:]])[1:]],
        {A: ("bad_prev", 3)},
        [],
    ),
    "a row of another form": (
        lambda log: [log[0], log[1].replace(b'"purpose":"payroll', b'"purpose":1,"x":"payroll'), *log[2:]],
        {A: ("malformed", 2)},
        [1],
    ),
    "a row gone": (lambda log: [log[0], joined(lines_of(log[1])[:2]), *log[2:]], {A: ("bad_seq", 2)}, [1]),
    "a row gone, its header made again": (
        lambda log: [*reseal([log[0], joined(lines_of(log[1])[:2]), *log[2:]])],
        {A: ("bad_seq", 2)},
        [],
    ),
    "a row twice": (
        lambda log: [*reseal([*log[:3], joined([*lines_of(log[3]), lines_of(log[3])[2]])])],
        {D: ("bad_seq", 1)},
        [],
    ),
    "an event twice": (
        lambda log: [*rechain([*log[:3], joined([*lines_of(log[3]), lines_of(log[3])[2]])])],
        {D: ("duplicate_event", 1)},
        [],
    ),
    "a row of another chunk": (
        lambda log: [*reseal([joined([*lines_of(log[0]), lines_of(_of_another_chunk())[1]]), *log[1:]])],
        {STRANGER: ("wrong_chunk", 0)},
        [],
    ),
    "a header changed": (lambda log: [log[0], log[1].replace(b"00:00:01.", b"00:00:09."), *log[2:]], {}, [2]),
    "a header of another number": (
        lambda log: [log[0], log[1].replace(b'"number":1', b'"number":2'), *log[2:]],
        {},
        [1],
    ),
    "a header of another log": (lambda log: [log[0], *sample_log(START._replace(log_id="f" * 32))[1:]], {}, [1, 2, 3]),
    "a header that counts otherwise": (
        lambda log: [log[0], log[1].replace(b'"rows":2', b'"rows":3'), *log[2:]],
        {},
        [1],
    ),
    "a header of other rows": (
        lambda log: [log[0], re.sub(rb'("rows_sha256":")[0-9a-f]{64}', rb"\g<1>" + b"0" * 64, log[1]), *log[2:]],
        {},
        [1],
    ),
    "a segment gone": (lambda log: [log[0], None, *log[2:]], {A: ("bad_seq", 2), C: ("bad_seq", 0)}, [1]),
}


def _of_another_chunk() -> bytes:
    (written,) = write_log([(OLD_KEY, [event(STRANGER, "s")])])
    return written.data


@pytest.mark.parametrize(("change", "chains", "segments"), TAMPERED.values(), ids=TAMPERED)
def test_links_counts_and_hashes_are_anybodys_to_judge(
    change: Callable[[list[bytes]], list[bytes | None]],
    chains: Mapping[str, tuple[str, int]],
    segments: list[int],
) -> None:
    """Whatever does not link, count or hash as it must is found without a key, and named as with one."""
    verdict = judge(change(LOG), keys=None)
    assert chains_found(verdict) == chains
    assert [segment for segment, _ in logs_found(verdict)] == segments


def test_what_somebody_without_keys_made_anew_only_a_checkpoint_shows_to_anybody() -> None:
    """A whole other history links up as well; the hashes that a checkpoint has do not."""
    forged = [
        joined(b'{"mac":"%b"' % (b"0" * 64) + line[73:] for line in lines_of(segment))
        for segment in sample_log(event_of=lambda *given_parts: event(*given_parts, actor="eve"))
    ]
    alone = judge(forged, keys=None)
    assert (alone.broken, alone.logs) == ({}, [])
    assert chains_found(judge(forged, ANCHORS, keys=None)) == {
        A: ("rewritten", 4),
        B: ("rewritten", 2),
        C: ("rewritten", 1),
        D: ("rewritten", 0),
    }
    assert set(chains_found(judge(forged)).values()) == {("bad_mac", 0)}


def test_anybody_can_judge_on_from_a_checkpoint() -> None:
    """From the header that it anchored, and the rows that it did."""
    first = judge(LOG[:2], keys=None)
    rest = judge(LOG[2:], first.chains, start=first.head, resumed=True, keys=None)
    assert (rest.broken, rest.logs, first.chains | rest.chains) == ({}, [], ANCHORS)
    elsewhere = judge(LOG[2:], first.chains, start=first.head._replace(sha256="d" * 64), resumed=True, keys=None)
    assert logs_found(elsewhere) == [(2, "bad_segment")]


def _found(segments: list[bytes], end: str, keys: Mapping[str, bytes] | None) -> bool:
    """Whether a log is not the one that ends with a header of this hash, as a checkpoint has it."""
    verdict = judge(segments, keys=keys)
    return bool(verdict.broken or verdict.logs) or (keys is None and verdict.head.sha256 != end)


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(SMALL)))
def test_any_changed_byte_is_found(number: int) -> None:
    """Each byte of a log, by a holder of the keys; by anybody each outside MACs, where only another form is found.

    Nothing links to the last header, so anybody needs its hash, which checkpoints have.
    """
    segment, end = SMALL[number], header_hash(SMALL[-1])
    macs = set(_macs(segment))
    assert len(macs) == 64 * len(lines_of(segment))
    for at, old in enumerate(segment):
        for byte in {old ^ 1, *b"f\n"} - {old}:
            changed = [*SMALL[:number], segment[:at] + bytes([byte]) + segment[at + 1 :], *SMALL[number + 1 :]]
            assert _found(changed, end, RING), (at, byte)
            assert _found(changed, end, None) != (at in macs and byte in b"0123456789abcdef"), (at, byte)


@given(st.data())
def test_any_byte_changed_put_in_or_taken_out_is_found(data: st.DataObject) -> None:
    """Whatever it becomes; to anybody the digits of a MAC may become others, and nothing else may."""
    number = data.draw(st.integers(0, len(LOG) - 1))
    segment = LOG[number]
    at = data.draw(st.integers(0, len(segment)))
    new = segment[:at] + data.draw(st.binary(max_size=1)) + segment[at + data.draw(st.integers(0, 1)) :]
    changed, end = [*LOG[:number], new, *LOG[number + 1 :]], header_hash(LOG[-1])
    same_length = len(new) == len(segment)
    other_digit = same_length and at in _macs(segment) and new[at] in b"0123456789abcdef"
    assert _found(changed, end, RING) == (new != segment)
    assert _found(changed, end, None) == (new != segment and not other_digit)


def test_only_its_hash_shows_anybody_that_the_last_header_changed() -> None:
    """The documented limit: nothing links to it, and its MAC is not anybody's to judge."""
    changed = [*LOG[:3], LOG[3].replace(b"00:00:03.", b"00:00:09.", 1)]
    verdict = judge(changed, ANCHORS, keys=None)
    assert (verdict.broken, verdict.logs) == ({}, [])
    assert verdict.head.sha256 != header_hash(LOG[3])
    assert logs_found(judge(changed)) == [(3, "bad_segment")]


# --- retired keys ---

OLD, NEW = key_id(OLD_KEY), key_id(NEW_KEY)  # the old one made segments 0 and 1, the new one 2 and 3


@pytest.mark.parametrize("keys", [RING, None], ids=["keyed", "public"])
def test_a_key_may_appear_up_to_the_segment_at_which_it_retired(keys: Mapping[str, bytes] | None) -> None:
    """The last one counts as before it; what the other key made is not asked about."""
    for retired in ({OLD: 1}, {OLD: 2}, {NEW: 3}, {OLD: 1, NEW: 99}, {"0" * 16: -1}):
        verdict = judge(LOG, ANCHORS, keys=keys, retired=retired)
        assert (verdict.broken, verdict.logs, verdict.chains) == ({}, [], ANCHORS)


@pytest.mark.parametrize("keys", [RING, None], ids=["keyed", "public"])
@pytest.mark.parametrize(
    ("retired", "chains", "segments"),
    [
        ({OLD: 0}, {C: 0, A: 2}, [1]),
        ({OLD: -1}, {A: 0, B: 0, C: 0}, [0, 1]),
        ({NEW: 2}, {A: 4, D: 0, B: 2}, [3]),
        ({NEW: 1}, {B: 1, A: 3, C: 1, D: 0}, [2, 3]),
        ({OLD: 0, NEW: 2}, {C: 0, A: 2, D: 0, B: 2}, [1, 3]),
    ],
)
def test_what_a_retired_key_made_later_is_named(
    retired: dict[str, int], chains: dict[str, int], segments: list[int], keys: Mapping[str, bytes] | None
) -> None:
    """Each chain from its first such row on, and each segment under such a header, however sound their MACs are."""
    verdict = judge(LOG, keys=keys, retired=retired)
    assert chains_found(verdict) == {one: ("retired_key", seq) for one, seq in chains.items()}
    assert logs_found(verdict) == [(segment, "bad_segment") for segment in segments]
    details = [broken.detail for broken in verdict.broken.values()] + [broken.detail for broken in verdict.logs]
    assert all("was retired before this segment was written" in detail for detail in details)


def test_rows_and_header_are_each_asked_for_their_own_key() -> None:
    """A row under a retired key is found under another key's header, and such a header over another key's rows."""
    lines = lines_of(write_log([(OLD_KEY, [event(A, "1")])])[0].data)
    other = lines_of(write_log([(NEW_KEY, [event(A, "1")])])[0].data)
    mixed = reseal([joined([other[0], lines[1]])])
    assert chains_found(judge(mixed, retired={OLD: -1})) == {A: ("retired_key", 0)}
    assert not judge(mixed, retired={OLD: -1}).logs

    mixed = reseal([joined([lines[0], other[1]])])
    assert logs_found(judge(mixed, retired={OLD: -1})) == [(0, "bad_segment")]
    assert not judge(mixed, retired={OLD: -1}).broken


def test_a_wrong_mac_or_form_is_said_before_that_its_key_retired() -> None:
    """And a key that the ring does not have is unknown, retired or not."""
    first, row = lines_of(write_log([(OLD_KEY, [event(A, "1")])])[0].data)
    wrong = joined([first, row[:8] + b"0" * 64 + row[72:]])
    assert chains_found(judge([wrong], retired={OLD: -1})) == {A: ("bad_mac", 0)}
    assert chains_found(judge([wrong], retired={OLD: -1}, keys=None)) == {A: ("retired_key", 0)}
    assert chains_found(judge([wrong], retired={OLD: -1}, keys={})) == {A: ("unknown_key", 0)}
    spaced = joined([first, row[:-1] + b" }"])
    assert chains_found(judge([spaced], retired={OLD: -1})) == {A: ("malformed", 0)}


def test_segments_count_from_the_logs_beginning_where_judging_goes_on() -> None:
    """A retired key is held to its last segment's number after a checkpoint, a gap and a failure too."""
    first = judge(LOG[:3])
    rest = judge(LOG[3:], first.chains, start=first.head, resumed=True, retired={NEW: 2})
    assert chains_found(rest) == {A: ("retired_key", 4), D: ("retired_key", 0), B: ("retired_key", 2)}
    assert not judge(LOG[3:], first.chains, start=first.head, resumed=True, retired={NEW: 3}).broken
    assert chains_found(judge([None, None, None, LOG[3]], retired={NEW: 2}))[D] == ("retired_key", 0)
    assert chains_found(judge(["down", *LOG[1:]], retired={NEW: 2}))[D] == ("retired_key", 0)
