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
_FIELDS = {"schema", "active", "keys", "signing", "former"}
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
        former: those that signed checkpoints before it, the last one first; the private half of that one alone is
            kept, until a checkpoint names its successor.

    Raises:
        KeyRingError: a key of another length or under another's id, an active key that is not there, a signing key
            twice, or a private half that should be gone.
    """

    active: str
    keys: Mapping[str, bytes] = field(repr=False)
    signing: SigningKey | None
    former: tuple[SigningKey, ...] = ()

    def __post_init__(self) -> None:
        for number, (name, key) in enumerate(self.keys.items(), start=1):
            if len(key) != KEY_BYTES:
                _refuse(f"key {number} is not {KEY_BYTES} bytes")
            if name != key_id(key):
                # Its name is not shown: someone may have put the key there.
                _refuse(f"key {number} is not named by its SHA-256, as {key_id(key)}")
        if self.active not in self.keys:
            _refuse("the active key is not among the keys")
        publics = [one.public for one in (self.signing, *self.former) if one is not None]
        if self.former and (self.signing is None or len(set(publics)) < len(publics)):
            _refuse("a signing key is there twice, or former ones without a current one")
        if any(one.private is not None for one in self.former[1:]):
            _refuse("the private half of a signing key is there that went out of use long ago")

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
        keys, signing, former = ring.get("keys"), ring.get("signing"), ring.get("former", [])
        if not isinstance(keys, dict):
            _refuse('"keys" is not an object of key ids and keys')
        if not isinstance(ring.get("active"), str):
            _refuse('"active" is not a key id')
        return cls(
            ring["active"],
            {name: _unhex(text, f"key {number}") for number, (name, text) in enumerate(keys.items(), start=1)},
            _parsed_signing(signing) if "signing" in ring else None,
            tuple(map(_parsed_signing, former)) if isinstance(former, list) else _refuse('"former" is not a list'),
        )

    def to_json(self) -> bytes:
        """The ring as one line of JSON, secret keys included: for a file that only its owner can read."""
        ring: dict[str, Any] = {
            "schema": KEY_RING_SCHEMA,
            "active": self.active,
            "keys": {name: key.hex() for name, key in self.keys.items()},
        }
        if self.signing is not None:
            ring["signing"] = _signing_json(self.signing)
        if self.former:
            ring["former"] = list(map(_signing_json, self.former))
        return json.dumps(ring).encode() + b"\n"

    def rotated(self, key: bytes) -> "KeyRing":
        """The ring with a new active key; the earlier ones stay, to verify what they MACed.

        Raises:
            KeyRingError: a key of another length, or one that the ring has already.
        """
        if key_id(key) in self.keys:
            _refuse("the key to rotate to is in the ring already")
        return replace(self, active=key_id(key), keys={**self.keys, key_id(key): key})

    @property
    def outgoing(self) -> SigningKey | None:
        """The former signing key whose private half is still there, since a checkpoint must name its successor."""
        return self.former[0] if self.former and self.former[0].private is not None else None

    def signing_rotated(self, seed: bytes) -> "KeyRing":
        """The ring with a new signing pair; the former one's private half stays until `signing_settled`.

        Raises:
            KeyRingError: no private signing key to rotate, a rotation that no checkpoint has completed yet, or a pair
                that the ring has already.
        """
        if self.signing is None or self.signing.private is None:
            raise KeyRingError("this key ring has no private signing key: it is a writer's copy; rotate the original")
        if self.outgoing is not None:
            raise KeyRingError(
                "the last rotation of the signing key is not complete: write a checkpoint of every store that this "
                "ring signs, then rotate again"
            )
        return replace(self, signing=SigningKey.of_seed(seed), former=(self.signing, *self.former))

    def signing_settled(self) -> "KeyRing":
        """The ring without the private halves of former signing keys."""
        return replace(self, former=tuple(replace(one, private=None) for one in self.former))

    def writer_copy(self) -> "KeyRing":
        """The ring without any private signing key: enough to append and to verify, not to sign a checkpoint."""
        signing = replace(self.signing, private=None) if self.signing else None
        return replace(self.signing_settled(), signing=signing)

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


def _signing_json(key: SigningKey) -> dict[str, str]:
    private = {} if key.private is None else {"private": key.private.hex()}
    return {"public": key.public.hex(), **private}


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
