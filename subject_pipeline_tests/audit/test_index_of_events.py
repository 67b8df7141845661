import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.audit.index import records as index
from subject_pipeline.audit.index.records import EVENT_WIDTH, KnownEvents

_CONTENTS = [bytes([number]) * 8 for number in range(3)]
# Few beginnings and few endings, so that identities share the half that they are searched by.
_identities = st.builds(
    lambda high, low: high * 8 + low * 8, st.sampled_from([b"\0", b"\1", b"\xff"]), st.sampled_from([b"\0", b"\7"])
)
_records = st.builds(bytes.__add__, _identities, st.sampled_from(_CONTENTS))


@given(st.lists(st.lists(_records, max_size=8), max_size=4), st.lists(_records, max_size=12), st.integers(1, 6))
def test_what_was_put_in_is_found_under_its_identity(
    parts: list[list[bytes]], added: Sequence[bytes], at_once: int
) -> None:
    """From parts of an index, from what came since, and after it became a part: the model's contents, no others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_FRESH", at_once)
        known = KnownEvents(b"".join(sorted(part)) for part in parts)
        model: dict[bytes, set[bytes]] = {}
        for record in (record for part in parts for record in part):
            model.setdefault(record[:16], set()).add(record[16:])
        for record in added:
            if record[:16] not in model:
                known.add([record])
                model[record[:16]] = {record[16:]}

    for high in (b"\0", b"\1", b"\xff"):
        for low in (b"\0", b"\7", b"\xee"):
            identity = high * 8 + low * 8
            assert set(known.contents(identity)) == model.get(identity, set())


@pytest.mark.long
def test_many_events_take_little_more_than_their_records() -> None:
    """What weighs is what is kept: a third beside the records, for the numbers that they are found by."""
    records = [hashlib.blake2b(b"%d" % number, digest_size=EVENT_WIDTH).digest() for number in range(200_000)]
    known = KnownEvents()
    known.add(records)
    assert known.weight == len(records) * 32
    assert list(known.contents(records[7][:16])) == [records[7][16:]]
