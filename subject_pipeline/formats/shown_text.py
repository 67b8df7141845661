"""Text that is safe to show to people: nothing invisible, nothing that a spreadsheet runs, no URL's credentials."""

import re

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_LONG = 120
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


def without_credentials(text: str) -> str:
    """The text with every URL's user, password, query and fragment as `***`: they may be, or hold, credentials.

    A `?` without a `=` after it is left: in a source it is a wildcard.
    """
    return _URL.sub(lambda url: _QUERY.sub(_starred, _USER.sub("***@", url[0])), text)


def _starred(query: re.Match[str]) -> str:
    return query[0][0] + "***"
