"""Leaf hashes: what rows, segments and checkpoints are linked by, and named by in Merkle trees."""

import hashlib

HASH_DIGITS = 64

NO_HASH = "0" * HASH_DIGITS
"""Stands where there is nothing before, or nothing at all."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256 of 0x00 and the data, 32 bytes (RFC 6962, section 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()
