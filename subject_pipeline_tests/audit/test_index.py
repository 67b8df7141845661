import struct

from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.audit.index.records import (
    DIGEST,
    POSTING_WIDTH,
    Records,
    SegmentDelta,
    head_in,
    heads_with_evidence,
    key_hashes,
    merge_heads,
    merge_records,
    postings,
    seal,
    segments_in,
    subject_digest,
    unseal,
)
from subject_pipeline.audit.segment import ChainHead, Evidence
from subject_pipeline.keys.macs import INDEX_DOMAIN, ROW_DOMAIN, Macs
from subject_pipeline.store.chunks import key_hash
from subject_pipeline.store.ids import storage_key
from subject_pipeline_tests.helpers.audit_samples import NEW_KEY, OLD_KEY, RING, STRANGE_KEY, canonical, key_id, mac_of


def hex_of(length: int) -> st.SearchStrategy[str]:
    """So many bytes, in hexadecimal."""
    return st.binary(min_size=length, max_size=length).map(bytes.hex)


_evidence = st.one_of(
    st.none(),
    st.builds(Evidence, st.integers(0, 2**63), hex_of(32), st.just("present")),
    st.builds(Evidence, st.integers(0, 2**63), st.just(""), st.sampled_from(["deleted", "erased"])),
)
heads = st.builds(ChainHead, st.integers(0, 2**63), hex_of(32), hex_of(32), _evidence)
NAMES = ["A", "B", "Ä/1", "C\n", "\U0001f600", "", "WORKER-1"]
chains = st.dictionaries(st.sampled_from(NAMES), heads, max_size=5)


@st.composite
def deltas(draw: st.DrawFn) -> list[SegmentDelta]:
    """Segments of a log, one after the other."""
    first = draw(st.integers(0, 2**31))
    found = draw(st.lists(chains, max_size=6))
    return [SegmentDelta(first + at, "ab" * 32, 10, one, {}) for at, one in enumerate(found)]


@given(deltas(), st.data())
def test_heads_are_a_dictionary_by_subject(log: list[SegmentDelta], data: st.DataObject) -> None:
    """Merged at once or in parts, the last segment's head of each subject is found, and of others none."""
    model: dict[str, ChainHead] = {}
    for delta in log:
        model |= delta.chains
    at = data.draw(st.integers(0, len(log)))
    whole = merge_heads(b"", log)

    assert merge_heads(merge_heads(b"", log[:at]), log[at:]) == whole
    assert {name: head_in(whole, name) for name in NAMES} == {name: model.get(name) for name in NAMES}
    assert head_in(whole, "nobody") is None
    assert whole == merge_heads(whole, [])
    for state in (None, "present", "deleted", "erased"):
        recorded = [
            name for name, head in model.items() if head.evidence is not None and state in {None, head.evidence.state}
        ]
        assert heads_with_evidence(whole, state) == {subject_digest(name): model[name] for name in recorded}
        assert sorted(key_hashes(whole, state)) == sorted(key_hash(storage_key(name)) for name in recorded)


@given(deltas(), st.data())
def test_postings_are_the_segments_of_each_subject(log: list[SegmentDelta], data: st.DataObject) -> None:
    """However they are parted and merged, the numbers of a subject's segments come back in order, each once."""
    at = data.draw(st.integers(0, len(log)))
    whole = postings(log)
    parts = [postings(log[at:]), postings(log[:at]), whole]

    assert merge_records(parts, POSTING_WIDTH) == whole
    for name in NAMES:
        assert segments_in(whole, [subject_digest(name)]) == {one.number for one in log if name in one.chains}
    some = {"A", "B"}
    assert segments_in(whole, map(subject_digest, some)) == {one.number for one in log if some & one.chains.keys()}
    assert segments_in(whole, [subject_digest("nobody")]) == set()
    assert segments_in(b"", [subject_digest("A")]) == set()


@given(st.lists(st.binary(min_size=DIGEST, max_size=DIGEST), max_size=20), st.integers(DIGEST, DIGEST + 8))
def test_records_are_found_by_bisection(digests: list[bytes], width: int) -> None:
    """Each record that begins with a digest is found, whatever follows it, and none that is not there."""
    records = sorted(digest + bytes([at]) * (width - DIGEST) for at, digest in enumerate(digests))
    found = Records(b"".join(records), width)

    assert len(found) == len(records)
    assert list(found.every()) == records
    for digest in [*digests, bytes(DIGEST), b"\xff" * DIGEST]:
        assert list(found.starting(digest)) == [one for one in records if one[:DIGEST] == digest]


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=6), max_size=4))
def test_merged_records_are_a_sorted_set(parts: list[list[int]]) -> None:
    """A record of several parts, or twice in one, is there once."""
    packed = [b"".join(struct.pack(">16sI", b"x" * 16, one) for one in sorted(part)) for part in parts]
    merged = merge_records(packed, POSTING_WIDTH)

    numbers = [one for (one,) in struct.iter_unpack(">16xI", merged)]
    assert numbers == sorted({one for part in parts for one in part})


def test_a_subject_is_named_by_16_bytes_of_its_own() -> None:
    """Different ids have different digests, ids with one storage key too."""
    assert len({subject_digest(name) for name in [*NAMES, "CAND/1", "CAND_1"]}) == len(NAMES) + 2
    assert all(len(subject_digest(name)) == DIGEST for name in NAMES)


_headers = st.dictionaries(
    st.sampled_from(["chunk", "number", "log_id", "increments"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.integers(0, 2**53 - 1) | st.lists(st.just("x")),
)
_payloads = st.binary(max_size=60) | st.sampled_from([b"", b"\n", b"\n\n", b'{"index":1}\n'])
MACS = Macs(RING.get, INDEX_DOMAIN)


@given(_headers, _payloads, st.sampled_from([OLD_KEY, NEW_KEY]))
def test_what_was_sealed_comes_back(header: dict[str, object], payload: bytes, key: bytes) -> None:
    """Header and payload are those sealed, LFs and all; the MAC is over both, under the index's own domain."""
    data = seal(header, payload, key_id=key_id(key), key=key)
    expected = header | {"schema": "subject_audit_index.v4", "key_id": key_id(key)}

    assert unseal(data, MACS) == (expected, payload)
    inner = canonical(expected)
    mac = mac_of(inner + b"\n" + payload, key, "subject-audit-index/v2")
    assert data == b'{"index":%b,"mac":"%b"}\n%b' % (inner, mac.encode(), payload)


SEALED = seal(
    {"chunk": "chunk-0", "number": 12, "log_id": "ab" * 16, "increments": [["rows", 0, 12, "cd" * 32, 5]]},
    b"\x00\n\xff" * 8,
    key_id=key_id(OLD_KEY),
    key=OLD_KEY,
)


def test_any_bit_flipped_unseals_to_nothing() -> None:
    """Each of all the single bits of an object counts."""
    for bit in range(len(SEALED) * 8):
        flipped = bytearray(SEALED)
        flipped[bit // 8] ^= 1 << (bit % 8)
        assert unseal(bytes(flipped), MACS) is None, bit


@given(_headers, _payloads, st.data())
def test_any_bit_of_any_object_counts(header: dict[str, object], payload: bytes, data: st.DataObject) -> None:
    """Whatever was sealed, one bit changed is not it, nor is a part of it, or more than it."""
    sealed = seal(header, payload, key_id=key_id(OLD_KEY), key=OLD_KEY)
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    flipped = bytearray(sealed)
    flipped[bit // 8] ^= 1 << (bit % 8)

    assert unseal(bytes(flipped), MACS) is None
    assert unseal(sealed[: data.draw(st.integers(0, len(sealed) - 1))], MACS) is None
    assert unseal(sealed + data.draw(st.binary(min_size=1, max_size=3)), MACS) is None


def test_an_object_under_another_key_or_domain_is_nothing() -> None:
    """A ring without the key, a key of the same id, and a MAC of another kind do not open it."""
    stranger = seal({}, b"", key_id=key_id(OLD_KEY), key=STRANGE_KEY)
    inner = canonical({"schema": "subject_audit_index.v4", "key_id": key_id(OLD_KEY)})
    row = b'{"index":%b,"mac":"%b"}\n' % (inner, mac_of(inner + b"\n", OLD_KEY, ROW_DOMAIN.decode()).encode())
    other = canonical({"schema": "subject_audit_index.v5", "key_id": key_id(OLD_KEY)})
    newer = b'{"index":%b,"mac":"%b"}\n' % (
        other,
        mac_of(other + b"\n", OLD_KEY, INDEX_DOMAIN.decode()).encode(),
    )

    assert unseal(SEALED, MACS) is not None
    for data in (stranger, row, newer, None, b"", b"\n", SEALED.partition(b"\n")[2]):
        assert unseal(data, MACS) is None
    assert unseal(SEALED, Macs(dict[str, bytes]().get, INDEX_DOMAIN)) is None
    assert unseal(SEALED, Macs(RING.get, ROW_DOMAIN)) is None


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("x"), inner),
    max_leaves=4,
)


def _forged(more: bytes) -> bytes:
    return b'{"index":{"key_id":"%b","more":%b},"mac":"00"}\n' % (key_id(OLD_KEY).encode(), more)


@given(
    st.binary(max_size=80)
    | _values.map(canonical)
    | st.builds(
        lambda index, mac: canonical({"index": index, "mac": mac}),
        _values | st.fixed_dictionaries({"key_id": st.just(key_id(OLD_KEY)) | _values, "more": _values}),
        _values,
    )
)
@example(_forged(b"9007199254740992"))
@example(_forged(b"[" * 300 + b"]" * 300))
def test_any_bytes_unseal_to_nothing(data: bytes) -> None:
    """Whatever lies where an index belongs is ignored, and nothing raises."""
    assert unseal(data, MACS) is None
    assert unseal(data + b"\n", MACS) is None
