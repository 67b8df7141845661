"""Text that is safe to show to people: nothing invisible, nothing that a spreadsheet runs, no URL's credentials."""

import math
import re

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_LONG = 120
_SHOWN_DIGITS = 1e-5
"""How exactly a spreadsheet writes a number that is too long for its cell: 1.23457E+11."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*")
# A secret may hold `/` and `@`: behind a colon that begins no port, everything to the last `@` counts as one.
_USER = re.compile(r"(?<=://)(?:[^/?#:@]*:(?![0-9]{1,5}/).*|[^/?#]*)@")
_QUERY = re.compile(r"[?#](?=.*=).*")


def shown(text: str, limit: int = _LONG) -> str:
    """The text with every invisible or direction-changing character spelt out, cut to a length.

    So no two ids look the same, and none can change how the text next to it looks. Escaping what is special in a page's
    or a picture's own syntax is up to its writer.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in cut)


def cell(text: str) -> str:
    """The text for a cell of CSV: an apostrophe goes before what a spreadsheet would take for a formula.

    Source: OWASP, CSV Injection. A program that reads the CSV removes the apostrophe again where a formula's character
    follows it; the parquet file next to it has the text as it is.
    """
    return f"'{text}" if text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else text


def from_cell(text: str) -> str:
    """What `cell` was given: the text without an apostrophe before what a spreadsheet would take for a formula."""
    return text[1:] if text.startswith("'") and cell(text[1:]) == text else text


def same_cell(written: str, text: str) -> bool:
    """Whether a spreadsheet may have written this for a text: what looks like a number is compared as one."""
    if written == text:
        return True
    try:
        number, wanted = float(written.replace(",", ".")), float(text)
    except ValueError:
        return False
    return math.isfinite(wanted) and math.isclose(number, wanted, rel_tol=_SHOWN_DIGITS)


def without_credentials(text: str) -> str:
    """The text with every URL's user, password, query and fragment as `***`: they may be, or hold, credentials.

    A `?` without a `=` after it is left: in a source it is a wildcard.
    """
    return _URL.sub(lambda url: _QUERY.sub(_starred, _USER.sub("***@", url[0])), text)


def _starred(query: re.Match[str]) -> str:
    return query[0][0] + "***"
