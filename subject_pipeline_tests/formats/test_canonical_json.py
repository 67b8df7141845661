import collections
import datetime as dt
import enum
import json
import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.errors import CanonicalJsonError
from subject_pipeline.formats import canonical_json as module
from subject_pipeline.formats.canonical_json import canonical_json, canonical_row

VECTORS = Path(__file__).parents[1] / "vectors/jcs"
NAMES = ["arrays", "french", "structures", "unicode", "values", "weird"]
LARGEST = 2**53 - 1
# What escapes differently, sorts differently in UTF-8 and UTF-16, or ends a line somewhere.
EVERY_TRICK = "".join(map(chr, range(0xA1))) + "\u2028\u2029\ud7ff\ue000\ufb33\ufeff\uffff\U00010000\U0010ffff"

_texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(EVERY_TRICK), max_size=20)
_ascii = st.text(st.characters(max_codepoint=0x7F), max_size=8)
_integers = st.integers(-LARGEST, LARGEST)
_plain_scalars = st.none() | st.booleans() | _integers | _texts
_plain = st.recursive(
    _plain_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_ascii, inner, max_size=4),
    max_leaves=12,
)
_values = st.recursive(
    _plain_scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)
_rows = st.dictionaries(_ascii, _texts | _integers | st.lists(_texts, max_size=4), max_size=8)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_vectors_hold_byte_for_byte(name: str) -> None:
    """Each input of the JCS authors' own vectors gives their output, as text and as the bytes in hexadecimal."""
    value = json.loads((VECTORS / f"input/{name}.json").read_bytes())

    assert canonical_json(value) == (VECTORS / f"output/{name}.json").read_bytes()
    assert canonical_json(value) == bytes.fromhex((VECTORS / f"outhex/{name}.txt").read_text())


def test_every_published_vector_is_held_to() -> None:
    """No vector file is left out."""
    for folder in ("input", "output", "outhex"):
        assert sorted(file.stem for file in (VECTORS / folder).iterdir()) == NAMES


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_are_written_as_the_rfc_shows(bits: str, expected: str) -> None:
    """The doubles of RFC 8785's appendix B are written as it says."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == expected.encode()


@given(_plain)
@example(EVERY_TRICK)
@example({"b": [LARGEST, -LARGEST], "a": {"~": "", " ": None}})
def test_the_fast_way_gives_the_bytes_of_the_general_one(value: Any) -> None:
    """What is taken to be plain is serialised as RFC 8785's own library does."""
    assert module._is_plain(value)
    assert canonical_json(value) == rfc8785.dumps(value)


@given(_rows)
@example({"text": EVERY_TRICK, "list": list(EVERY_TRICK), "number": LARGEST})
@example({chr(at): at for at in range(0x80)})
def test_a_row_has_the_bytes_of_the_general_way(row: dict[str, Any]) -> None:
    """For what rows hold, control characters and astral ones too, the fast way is RFC 8785."""
    assert canonical_row(row) == rfc8785.dumps(row) == canonical_json(row)


@given(_values)
@example({"\ufb33": 1, "\U0001f600": 2, "a": -0.0, "": 1e21})
def test_parsing_what_was_serialised_gives_the_value_back(value: Any) -> None:
    """Nothing is lost, and what was parsed serialises to the same bytes."""
    # A JSON number is a double, so 1e21 written without a part is not the integer that Python would make of it.
    again = json.loads(canonical_json(value), parse_int=float)

    assert again == value
    assert canonical_json(again) == canonical_json(value)


@given(st.dictionaries(_texts, _values, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(value: dict[str, Any], random: Any) -> None:
    """The same object gives the same bytes in whatever order its keys stand."""
    items = list(value.items())
    random.shuffle(items)

    assert canonical_json(dict(items)) == canonical_json(value)


class _Colour(enum.StrEnum):
    RED = "red"


class _Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, "a", ()), b'[1,"a",[]]'),
        (collections.OrderedDict(b=1, a=2), b'{"a":2,"b":1}'),
        ({_Colour.RED: _Colour.RED}, b'{"red":"red"}'),
        ([_Level.HIGH, True, 1.0], b"[3,true,1]"),
        ({"\ufb33": 0, "\U0001f600": 0}, '{"\U0001f600":0,"\ufb33":0}'.encode()),
        ([[[]], {}], b"[[[]],{}]"),
        ("\x7f\u2028/", '"\x7f\u2028/"'.encode()),
        ([LARGEST, -LARGEST], b"[9007199254740991,-9007199254740991]"),
    ],
)
def test_subclasses_count_as_what_they_derive_from(value: object, expected: bytes) -> None:
    """Tuples are arrays, enumerations their values, and keys are sorted as UTF-16 whatever the way taken."""
    assert canonical_json(value) == expected


@pytest.mark.parametrize("depth", [200, 300])
@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_depth_beyond_the_fast_ways_is_taken(depth: int, wrap: Any) -> None:
    """More levels than the fast library takes are serialised none the less."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)

    assert json.loads(canonical_json(value)) == value


_endless: list[Any] = []
_endless.append(_endless)
_deep: list[Any] = []
for _ in range(100_000):
    _deep = [_deep]
_SECRET = "4111-1111"  # what no message may hold


class _Liar(int):
    def __int__(self) -> int:
        return 2**60


class _Opaque:
    def __repr__(self) -> str:
        return _SECRET


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (math.nan, "NaN"),
        ([math.inf], "infinite"),
        ({"a": -math.inf}, "infinite"),
        (2**53, "integer beyond"),
        (-(2**53), "integer beyond"),
        ({"a": [10**5_000]}, "integer beyond"),
        ({1: _SECRET}, "key of type int"),
        ({None: _SECRET}, "key of type NoneType"),
        ({_SECRET.encode(): 1}, "key of type bytes"),
        ({(_SECRET,): 1}, "key of type tuple"),
        (_SECRET.encode(), "no type bytes"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "no type datetime"),
        ([dt.date(2026, 1, 1)], "no type date"),
        ({_SECRET}, "no type set"),
        (_Opaque(), "no type _Opaque"),
        (1j, "no type complex"),
        (_SECRET + "\ud800", "a string with a lone surrogate"),
        ([_SECRET + "\udfff"], "a string with a lone surrogate"),
        ({_SECRET + "\udc80": 1}, "a key with a lone surrogate"),
        ({"é": {_SECRET + "\ud83d": 1.5}}, "a key with a lone surrogate"),
        (_endless, "nested too deeply"),
        (_deep, "nested too deeply"),
        ([1.5, _deep], "nested too deeply"),
        (_Liar(1), "subclass"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_what_json_cannot_hold_is_refused_without_echo(value: object, words: str) -> None:
    """Whatever has no canonical form is refused in words that name its kind and hold nothing of it."""
    with pytest.raises(CanonicalJsonError, match=re.escape(words)) as refused:
        canonical_json(value)

    assert _SECRET not in str(refused.value)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize(
    "row",
    [{"a": _SECRET + "\ud800"}, {"fields": [_SECRET, "\udfff"]}, {_SECRET + "\udc80": "a"}, {"seq": 2**53}],
    ids=["string", "list", "key", "integer"],
)
def test_a_row_that_no_bytes_can_hold_is_refused(row: dict[str, object]) -> None:
    """A lone surrogate or a huge integer in a row is our error, without its content."""
    with pytest.raises(CanonicalJsonError, match="canonical JSON of a row") as refused:
        canonical_row(row)

    assert _SECRET not in str(refused.value)
