import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.keys.macs import INDEX_DOMAIN, ROW_DOMAIN, SEGMENT_DOMAIN, Mac, Macs
from subject_pipeline_tests.helpers.audit_samples import NEW_KEY, OLD_KEY, RING, key_id

DOMAINS = [ROW_DOMAIN, SEGMENT_DOMAIN, INDEX_DOMAIN]


def test_a_mac_has_the_value_that_was_computed_elsewhere() -> None:
    """One MAC, computed by openssl over domain, zero byte and data."""
    assert Mac(bytes(range(32)), ROW_DOMAIN).hex(b"{}") == (
        "ca37dd298fe77e9196abada5e6d606dd7e776aa1c41753a47253f7b006c37731"
    )


@given(st.binary(max_size=100), st.sampled_from(DOMAINS), st.binary(max_size=200))
def test_a_mac_is_hmac_sha256_over_domain_zero_byte_and_data(key: bytes, domain: bytes, data: bytes) -> None:
    """The prepared state gives what the standard library gives in one go, however often it is used."""
    mac = Mac(key, domain)
    expected = hmac.new(key, domain + b"\x00" + data, hashlib.sha256).hexdigest()

    assert mac.hex(b"something before") != mac.hex(data) or data == b"something before"
    assert mac.hex(data) == mac.hex(data) == expected
    assert mac.matches(expected, data)


@given(st.binary(max_size=40), st.integers(0, 63), st.integers(1, 15))
def test_no_other_mac_matches(data: bytes, at: int, change: int) -> None:
    """Any other digit, and the same digits in capitals, are another MAC."""
    mac = Mac(OLD_KEY, ROW_DOMAIN)
    right = mac.hex(data)
    wrong = right[:at] + f"{int(right[at], 16) ^ change:x}" + right[at + 1 :]

    assert not mac.matches(wrong, data)
    assert not mac.matches(right + "0", data)
    assert not mac.matches(right[:-1], data)
    assert not mac.matches(right.upper(), data) or right.isdigit()


@pytest.mark.parametrize("claimed", ["", "é" * 64, "\x00", "0" * 64])
def test_whatever_is_claimed_to_be_a_mac_is_only_compared(claimed: str) -> None:
    """A claim of any form is false, and nothing raises."""
    assert not Mac(OLD_KEY, ROW_DOMAIN).matches(claimed, b"data")


def test_domains_keep_macs_apart() -> None:
    """No domain's MAC is another's, nor a keyless domain's, over the same bytes."""
    data = b'{"a":1}'
    assert len({Mac(OLD_KEY, domain).hex(data) for domain in [*DOMAINS, b""]}) == 4


def test_a_ring_gives_a_mac_for_each_key_that_it_has() -> None:
    """Keys are told apart by their ids, and one that is not there is None."""
    macs = Macs(RING.get, ROW_DOMAIN)

    for key in (OLD_KEY, NEW_KEY):
        found = macs.get(key_id(key))
        assert found is not None
        assert found.hex(b"x") == Mac(key, ROW_DOMAIN).hex(b"x")
    assert macs.get("0" * 16) is None


def test_a_key_that_joins_the_ring_later_is_found() -> None:
    """That a key was not there is not remembered; one that was there is not looked up again."""
    ring: dict[str, bytes] = {}
    asked: list[str] = []

    def look_up(wanted: str) -> bytes | None:
        asked.append(wanted)
        return ring.get(wanted)

    macs = Macs(look_up, ROW_DOMAIN)
    assert macs.get("k") is None
    ring["k"] = OLD_KEY
    assert macs.get("k") is macs.get("k") is not None
    assert asked == ["k", "k"]
