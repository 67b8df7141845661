import copy
import hashlib
import json
import pickle
import re
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KeyRing, SigningKey, key_id

KEY, OTHER, SEED = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
RING = KeyRing.new(KEY, SEED).rotated(OTHER)
DOCUMENT: dict[str, Any] = json.loads(RING.to_json())

_keys = st.binary(min_size=32, max_size=32)


def test_the_json_is_as_the_design_says() -> None:
    """Schema, the active key's id, keys by id in hex, and the signing pair; nothing else."""
    assert list(DOCUMENT) == ["schema", "active", "keys", "signing"]
    assert {
        "schema": "subject_key_ring.v1",
        "active": hashlib.sha256(OTHER).hexdigest()[:16],
        "keys": {hashlib.sha256(key).hexdigest()[:16]: key.hex() for key in (KEY, OTHER)},
        "signing": {"public": DOCUMENT["signing"]["public"], "private": SEED.hex()},
    } == DOCUMENT
    assert RING.to_json().endswith(b"}\n")
    assert RING.to_json().count(b"\n") == 1


def test_the_signing_pair_is_that_of_rfc_8032() -> None:
    """The public half is the seed's, as in the RFC's first test vector."""
    pair = SigningKey.of_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))

    assert pair.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@given(_keys, _keys, st.lists(_keys, unique=True, max_size=4), st.booleans())
def test_parsing_what_was_written_gives_the_ring_back(key: bytes, seed: bytes, later: list[bytes], whole: bool) -> None:
    """No key, no half of the signing pair and no order is lost."""
    ring = KeyRing.new(key, seed)
    for new in later:
        if new != key:
            ring = ring.rotated(new)
    ring = ring if whole else ring.writer_copy()

    again = KeyRing.parse(ring.to_json())

    assert again == ring
    assert list(again.keys) == list(ring.keys)
    assert again.to_json() == ring.to_json()


def test_rotation_keeps_the_earlier_keys() -> None:
    """The new key is active, the old one still verifies, and the ring rotated from is as it was."""
    ring = KeyRing.new(KEY, SEED)
    rotated = ring.rotated(OTHER)

    assert (ring.active_key, rotated.active_key) == (KEY, OTHER)
    assert rotated.active == key_id(OTHER)
    assert rotated.key(key_id(KEY)) == KEY
    assert ring.key(key_id(OTHER)) is None
    assert rotated.signing == ring.signing


@pytest.mark.parametrize("key", [KEY, OTHER], ids=["earlier", "active"])
def test_rotation_to_a_key_of_the_ring_is_refused(key: bytes) -> None:
    """A rotation needs a new key; an earlier one does not come back."""
    with pytest.raises(KeyRingError, match="in the ring already"):
        RING.rotated(key)


def test_a_writers_copy_lacks_the_private_signing_key_alone() -> None:
    """It has every key and the public half; its JSON does not hold the seed."""
    copied = RING.writer_copy()

    assert (copied.active, copied.keys) == (RING.active, RING.keys)
    assert copied.signing is not None
    assert RING.signing is not None
    assert (copied.signing.public, copied.signing.private) == (RING.signing.public, None)
    assert json.loads(copied.to_json())["signing"] == {"public": RING.signing.public.hex()}
    assert SEED.hex().encode() not in copied.to_json()


def test_a_ring_may_have_no_signing_key() -> None:
    """Without one it appends and verifies; its copy is the same."""
    ring = KeyRing.parse(json.dumps({name: DOCUMENT[name] for name in ("schema", "active", "keys")}).encode())

    assert ring.signing is None
    assert ring.writer_copy() == ring
    assert b"signing" not in ring.to_json()


def test_hexadecimal_digits_count_in_either_case() -> None:
    """A ring written by hand in capital letters is the same ring."""
    text = json.dumps(DOCUMENT["keys"]).encode()
    capital = re.sub(rb'"[0-9a-f]{64}"', lambda found: found[0].upper(), text)
    assert capital != text

    assert KeyRing.parse(RING.to_json().replace(text, capital)) == RING


def test_no_representation_shows_a_secret() -> None:
    """Neither the ring's nor the pair's `repr` holds a secret key, as bytes or in hex."""
    shown = f"{RING!r} {RING} {RING.signing!r}"

    assert key_id(OTHER) in shown
    for secret in (KEY, OTHER, SEED):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_a_ring_can_go_to_another_process() -> None:
    """A copy that was pickled is the same ring."""
    assert pickle.loads(pickle.dumps(RING)) == RING  # noqa: S301 - our own bytes


def _changed(path: str, value: Any) -> bytes:
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document).encode()


_ID = key_id(KEY)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (RING.to_json()[:-3], "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\xef\xbb\xbf" + RING.to_json(), "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"1" * 10_000, "not JSON"),
        (b"null", "not a JSON object"),
        (b"[]", "not a JSON object"),
        (b"{}", '"schema" is not'),
        (_changed("schema", "subject_key_ring.v2"), '"schema" is not'),
        (_changed("schema", ...), '"schema" is not'),
        (_changed("newer", 1), "a field is none of"),
        (_changed("keys", ...), '"keys" is not an object'),
        (_changed("keys", [KEY.hex()]), '"keys" is not an object'),
        (_changed("keys", {}), "active key is not among"),
        (_changed("active", ...), '"active" is not'),
        (_changed("active", None), '"active" is not'),
        (_changed("active", [_ID]), '"active" is not'),
        (_changed("active", "0" * 16), "active key is not among"),
        (_changed(f"keys.{_ID}", KEY.hex()[:-2]), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", KEY.hex() + "00"), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", KEY.hex()[:-1] + " "), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", KEY.hex()[:-1] + "g"), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", KEY.hex() + "\n"), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", None), "key 1 is not 64 hex"),
        (_changed(f"keys.{_ID}", OTHER.hex()), f"as {key_id(OTHER)}"),
        (_changed(f"keys.{KEY.hex()}", KEY.hex()), f"key 3 is not named by its SHA-256, as {_ID}"),
        (_changed("signing", None), '"signing" is not an object'),
        (_changed("signing", "x"), '"signing" is not an object'),
        (_changed("signing.public", ...), "public signing key is not 64 hex"),
        (_changed("signing.public", "00"), "public signing key is not 64 hex"),
        (_changed("signing.public", "00" * 32), "not that of the private one"),
        (_changed("signing.private", OTHER.hex()), "not that of the private one"),
        (_changed("signing.private", None), "private signing key is not 64 hex"),
        (_changed("signing.private", ""), "private signing key is not 64 hex"),
        (_changed("signing.seed", "x"), 'a field of "signing"'),
        (RING.to_json().replace(b'"active"', b'"active": "x", "active"'), "twice"),
        (RING.to_json().replace(b'"private"', b'"public"'), "twice"),
    ],
    ids=range(39),
)
def test_what_is_no_key_ring_is_refused_without_its_keys(data: bytes, words: str) -> None:
    """Whatever is wrong is named, and neither message nor traceback holds a key."""
    with pytest.raises(KeyRingError, match=re.escape(words)) as refused:
        KeyRing.parse(data)

    told = "".join(traceback.format_exception(refused.value, chain=True))
    assert refused.value.__cause__ is None
    for secret in (KEY, OTHER, SEED):
        assert secret.hex()[:16] not in told


@pytest.mark.parametrize(
    "make",
    [
        lambda: KeyRing.new(KEY[:-1], SEED),
        lambda: KeyRing.new(KEY, SEED + b"\0"),
        lambda: RING.rotated(b""),
        lambda: KeyRing(_ID, {_ID: OTHER}, None),
        lambda: KeyRing(_ID, {}, None),
        lambda: SigningKey(b"", None),
        lambda: SigningKey(KEY, SEED),
        lambda: SigningKey(KEY, b"x"),
    ],
    ids=["key", "seed", "rotated", "id", "active", "public", "pair", "private"],
)
def test_a_ring_that_does_not_hold_together_cannot_be_made(make: Any) -> None:
    """What parsing refuses cannot be made in code either."""
    with pytest.raises(KeyRingError, match="not a key ring"):
        make()


@given(st.data())
def test_damaged_bytes_are_a_ring_or_our_error(data: st.DataObject) -> None:
    """Any change of a byte is refused as a KeyRingError, or means the same ring."""
    text = bytearray(RING.to_json())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        ring = KeyRing.parse(bytes(text))
    except KeyRingError:
        return
    assert ring == RING
