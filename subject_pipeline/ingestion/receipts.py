"""Receipts of ingested files: which file, as it was then, and what became of it, under a MAC of the key ring.

Without the MAC, anyone who may write to the store could claim that a file was ingested, and it never would be.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from subject_pipeline.errors import CanonicalJsonError
from subject_pipeline.formats.canonical_json import canonical_row
from subject_pipeline.keys.macs import Mac, Macs

RECEIPT_SCHEMA = "subject_receipt.v1"
RECEIPT_DOMAIN = b"subject-receipt/v1"


def write_receipt(about: Mapping[str, str | int], *, key_id: str, key: bytes) -> bytes:
    """A receipt's line: `{"mac":M,"receipt":R}`, M over exactly the bytes of R.

    Args:
        about: the file, the log that its events went to, and counts.
        key_id: the active key's id.
        key: the active key.
    """
    inner = canonical_row({**about, "schema": RECEIPT_SCHEMA, "key_id": key_id})
    return b'{"mac":"%b","receipt":%b}\n' % (Mac(key, RECEIPT_DOMAIN).hex(inner).encode(), inner)


def is_receipt(data: bytes | None, about: Mapping[str, str | int], macs: Macs) -> bool:
    """Whether some bytes are a receipt of ours that says all this; never raises because of what is in them.

    Args:
        data: an object's bytes.
        about: what it must say; it may say more.
        macs: the ring's keys under `RECEIPT_DOMAIN`.
    """
    try:
        line = orjson.loads(data or b"")
        receipt, claimed = line["receipt"], line["mac"]
        expected: dict[str, Any] = {**about, "schema": RECEIPT_SCHEMA}
        if any(receipt.get(name) != value for name, value in expected.items()):
            return False
        mac = macs.get(receipt["key_id"])
        return mac is not None and mac.matches(claimed, canonical_row(receipt))
    except (orjson.JSONDecodeError, CanonicalJsonError, KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return False
