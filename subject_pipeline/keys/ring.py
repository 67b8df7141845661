"""The key ring: the keys of the audit log's MACs, old ones too, and the key that signs checkpoints.

Neither the text nor the representation of anything here shows a secret key, and errors carry no cause that does.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from subject_pipeline.errors import KeyRingError

KEY_RING_SCHEMA = "subject_key_ring.v1"
KEY_BYTES = 32
_FIELDS = {"schema", "active", "keys", "signing"}
_SIGNING_FIELDS = {"public", "private"}
_HEX = re.compile(r"[0-9a-fA-F]{64}")


def key_id(key: bytes) -> str:
    """The first 16 hex digits of the key's SHA-256, so that one id never names two keys."""
    return hashlib.sha256(key).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The Ed25519 key pair (RFC 8032) of checkpoints; its halves belong together.

    Attributes:
        public: 32 bytes.
        private: the 32-byte seed; None in a writer's copy.

    Raises:
        KeyRingError: a wrong length, or halves of two pairs.
    """

    public: bytes
    private: bytes | None = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.public) != KEY_BYTES:
            _refuse(f"the public signing key is not {KEY_BYTES} bytes")
        if self.private is None:
            return
        if len(self.private) != KEY_BYTES:
            _refuse(f"the private signing key is not {KEY_BYTES} bytes")
        if _public_of(self.private) != self.public:
            _refuse("the public signing key is not that of the private one")

    @classmethod
    def of_seed(cls, seed: bytes) -> "SigningKey":
        """The pair of a 32-byte seed."""
        if len(seed) != KEY_BYTES:
            _refuse(f"the private signing key is not {KEY_BYTES} bytes")
        return cls(_public_of(seed), seed)


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Every key that rows were ever MACed with, one of them active; each under the id that is its own.

    Attributes:
        active: the id of the key that new rows are MACed with.
        keys: 32-byte keys by id, oldest first.
        signing: the key of checkpoints; None where the ring has none.

    Raises:
        KeyRingError: a key of another length or under another's id, or an active key that is not there.
    """

    active: str
    keys: Mapping[str, bytes] = field(repr=False)
    signing: SigningKey | None

    def __post_init__(self) -> None:
        for number, (name, key) in enumerate(self.keys.items(), start=1):
            if len(key) != KEY_BYTES:
                _refuse(f"key {number} is not {KEY_BYTES} bytes")
            if name != key_id(key):
                # Its name is not shown: someone may have put the key there.
                _refuse(f"key {number} is not named by its SHA-256, as {key_id(key)}")
        if self.active not in self.keys:
            _refuse("the active key is not among the keys")

    @classmethod
    def new(cls, key: bytes, signing_seed: bytes) -> "KeyRing":
        """A ring of one key, which is active, and the signing pair of a seed; each 32 random bytes.

        Raises:
            KeyRingError: another length.
        """
        return cls(key_id(key), {key_id(key): key}, SigningKey.of_seed(signing_seed))

    @classmethod
    def parse(cls, data: bytes) -> "KeyRing":
        """A ring from its JSON.

        Raises:
            KeyRingError: anything in it is not as `to_json` writes it; the message holds nothing of the ring.
        """
        ring = _parsed(data)
        if ring.get("schema") != KEY_RING_SCHEMA:
            _refuse(f'"schema" is not "{KEY_RING_SCHEMA}"')
        _check_fields(ring, _FIELDS, "a field")
        keys, signing = ring.get("keys"), ring.get("signing")
        if not isinstance(keys, dict):
            _refuse('"keys" is not an object of key ids and keys')
        if not isinstance(ring.get("active"), str):
            _refuse('"active" is not a key id')
        return cls(
            ring["active"],
            {name: _unhex(text, f"key {number}") for number, (name, text) in enumerate(keys.items(), start=1)},
            _parsed_signing(signing) if "signing" in ring else None,
        )

    def to_json(self) -> bytes:
        """The ring as one line of JSON, secret keys included: for a file that only its owner can read."""
        ring: dict[str, Any] = {
            "schema": KEY_RING_SCHEMA,
            "active": self.active,
            "keys": {name: key.hex() for name, key in self.keys.items()},
        }
        if self.signing is not None:
            ring["signing"] = {"public": self.signing.public.hex()}
            if self.signing.private is not None:
                ring["signing"]["private"] = self.signing.private.hex()
        return json.dumps(ring).encode() + b"\n"

    def rotated(self, key: bytes) -> "KeyRing":
        """The ring with a new active key; the earlier ones stay, to verify what they MACed.

        Raises:
            KeyRingError: a key of another length, or one that the ring has already.
        """
        if key_id(key) in self.keys:
            _refuse("the key to rotate to is in the ring already")
        return replace(self, active=key_id(key), keys={**self.keys, key_id(key): key})

    def writer_copy(self) -> "KeyRing":
        """The ring without the private signing key: enough to append and to verify, not to sign a checkpoint."""
        return replace(self, signing=replace(self.signing, private=None) if self.signing else None)

    def key(self, key_id: str) -> bytes | None:
        """The key of an id; None where the ring does not have it."""
        return self.keys.get(key_id)

    @property
    def active_key(self) -> bytes:
        """The key that new rows are MACed with."""
        return self.keys[self.active]


def _public_of(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        ring = json.loads(data.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        # Without the cause: it carries the document, keys and all.
        raise KeyRingError("not a key ring: not JSON") from None
    if not isinstance(ring, dict):
        _refuse("not a JSON object")
    return ring


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members = list(pairs)
    if len(dict(members)) != len(members):
        _refuse("a name is there twice in one object")
    return dict(members)


def _parsed_signing(signing: object) -> SigningKey:
    if not isinstance(signing, dict):
        _refuse('"signing" is not an object')
    _check_fields(signing, _SIGNING_FIELDS, 'a field of "signing"')
    private = _unhex(signing["private"], "the private signing key") if "private" in signing else None
    return SigningKey(_unhex(signing.get("public"), "the public signing key"), private)


def _check_fields(found: dict[str, Any], known: set[str], what: str) -> None:
    # A rotation would lose what it does not know.
    if not found.keys() <= known:
        _refuse(f"{what} is none of {', '.join(sorted(known))}")


def _unhex(text: object, what: str) -> bytes:
    if not isinstance(text, str) or not _HEX.fullmatch(text):
        _refuse(f"{what} is not {2 * KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(text)


def _refuse(reason: str) -> NoReturn:
    raise KeyRingError(f"not a key ring: {reason}")
