import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.errors import EventError
from subject_pipeline.formats.strict_json import compact_json, load_json, unique_keys


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"b":{"c":[{"d":1,"d":2}]}}',
        '{"a":1, "\\u0061":2}',
        '{"a":"\\u0022","b":"\\u0022","a":"x"}',
        '{"a\\"":"\\\\","a\\u0022":"\\\\\\\\"}',
        '{"":0,"":0}',
        '[{"a":"x"},{"a":"y","a":"z"}]',
        '{"a":' + "[" * 300 + '{"b":1,"b":2}' + "]" * 300 + "}",
    ],
)
def test_a_key_twice_is_refused(text: str) -> None:
    """At any depth, however it is escaped, whatever strings are beside it."""
    with pytest.raises(EventError, match="an object has a key twice"):
        load_json(text.encode())


@pytest.mark.parametrize("depth", [250, 260, 400, 5_000, 1_000_000])
def test_a_deep_nesting_is_read_or_refused(depth: int) -> None:
    """It crashes nothing."""
    text = b"[" * depth + b"]" * depth
    if depth < 1_000:
        assert isinstance(load_json(text), list)
    else:
        with pytest.raises(EventError, match=r"^(not JSON|nested too deeply)"):
            load_json(text)


_texts = st.text(st.sampled_from('ab"\\:,{}\n\t\x7f\u00e9\u2028\U0001f600'), max_size=4)
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(_texts, inner), max_size=3).map(tuple),
    max_leaves=8,
)


def _written(value: Any, *, ascii_only: bool, spaces: str) -> str:
    """A tuple stands for an object, with its members as they are, those of one name too."""
    if isinstance(value, tuple):
        members = [
            f"{json.dumps(key, ensure_ascii=ascii_only)}{spaces}:{_written(one, ascii_only=ascii_only, spaces=spaces)}"
            for key, one in value
        ]
        return "{" + f",{spaces}".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(one, ascii_only=ascii_only, spaces=spaces) for one in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


@given(_values, st.booleans(), st.sampled_from(["", " ", "\n\t"]))
def test_exactly_what_has_a_key_twice_is_refused(value: Any, ascii_only: bool, spaces: str) -> None:
    """As the standard library finds when it is made to look at every object's members."""
    text = _written(value, ascii_only=ascii_only, spaces=spaces)
    try:
        expected = json.loads(text, object_pairs_hook=unique_keys)
    except EventError:
        with pytest.raises(EventError, match="twice"):
            load_json(text.encode())
    else:
        assert load_json(text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "compact"),
    [
        (b' {"b" : ["\\u00e9", null,\n1 ], "a":{} }\r\n', '{"b":["é",null,1],"a":{}}'.encode()),
        (b'{"a":1,"a":1}', None),
        (b'{"a":1', None),
        (b'{"a":"\xff"}', None),
        (rb'{"a":"\ud800"}', None),
        (b"[" * 300 + b"]" * 300, None),
    ],
)
def test_compact_json_is_the_same_without_white_space(text: bytes, compact: bytes | None) -> None:
    """Keys stay in their order; what readers may read in two ways, or not at all, is none."""
    assert compact_json(text) == compact
