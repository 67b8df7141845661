import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.store.ids import MAX_STORAGE_KEY_BYTES, candidate_id, refusal, storage_key

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(text)
def test_a_storage_key_is_safe_ascii_of_equal_length(candidate: str) -> None:
    """A storage key has one of `[A-Za-z0-9_-]` for every character of the id, and is its own storage key."""
    key = storage_key(candidate)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", key)
    assert len(key) == len(candidate)
    assert storage_key(key) == key


@pytest.mark.parametrize(
    ("candidate", "key"),
    [
        ("WORKER-1", "WORKER-1"),
        ("CAND/1", "CAND_1"),
        ("CAND_1", "CAND_1"),
        ("Zoë.O'Neil", "Zo__O_Neil"),
        ("a\nb", "a_b"),
        ("../../etc/passwd", "______etc_passwd"),
        ("日本", "__"),
        ("👩‍⚕️", "____"),
    ],
)
def test_unsafe_characters_become_underscores(candidate: str, key: str) -> None:
    """Every character outside `[A-Za-z0-9_-]` becomes one underscore."""
    assert storage_key(candidate) == key


@pytest.mark.parametrize("prefix", ["", "WORKER-"])
def test_an_empty_key_value_is_refused_even_with_a_prefix(prefix: str) -> None:
    """A prefix alone is nobody's id."""
    reason = refusal(candidate_id("", prefix), "")
    assert reason is not None
    assert "empty key value" in reason


def test_a_storage_key_may_have_200_bytes_and_no_more() -> None:
    """200 bytes are allowed; with 201 the reason names both numbers."""
    assert MAX_STORAGE_KEY_BYTES == 200
    assert refusal("x" * 200, "x" * 200) is None
    assert refusal("x" * 201, "x" * 201) == "storage key is 201 bytes long; at most 200 are allowed"


def test_the_length_counts_the_storage_key_and_not_the_id() -> None:
    """200 characters of many bytes each have a storage key of 200 bytes, and are allowed."""
    assert refusal("é" * 200, "é" * 200) is None
    assert refusal("é" * 201, "é" * 201) is not None


@given(text, text)
def test_an_id_is_the_prefix_and_the_key_value(value: str, prefix: str) -> None:
    """Nothing is trimmed or changed."""
    assert candidate_id(value, prefix) == prefix + value
