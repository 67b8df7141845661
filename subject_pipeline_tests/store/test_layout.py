import datetime as dt
import json

import pytest
from pydantic import ValidationError

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.layout import StoreLayout

LAYOUT = StoreLayout(chunk_count=64, log_id="0" * 32, created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@pytest.mark.parametrize("wanted", [None, 64])
def test_no_count_or_the_same_count_is_accepted(wanted: int | None) -> None:
    """An unset count means the layout's, and the layout's own is fine."""
    LAYOUT.check_wanted(wanted)


def test_a_contradicting_count_is_refused_with_both_numbers() -> None:
    """Another count is refused; the message names both, and the variable that mends it."""
    with pytest.raises(ConfigurationError, match=r"128 chunks are asked for.*laid out with 64.*SUBJECT_CHUNKS=64"):
        LAYOUT.check_wanted(128)


def test_the_layout_gives_its_chunks() -> None:
    """A store's chunks are those of its count."""
    assert LAYOUT.chunks == ChunkLayout(64)


def test_a_layout_survives_its_json_with_what_a_newer_writer_added() -> None:
    """Parse after serialize is identity, unknown fields included."""
    document = json.loads(LAYOUT.model_dump_json(by_alias=True)) | {"newer": {"a": 1}}
    again = StoreLayout.model_validate_json(json.dumps(document))
    assert again.schema_ == "subject_layout.v1"
    assert json.loads(again.model_dump_json(by_alias=True)) == document


@pytest.mark.parametrize(
    "change", [{"chunk_count": 0}, {"chunk_count": 1 << 21}, {"log_id": "XYZ"}, {"created_at": 0j}]
)
def test_a_layout_with_nonsense_is_refused(change: dict[str, object]) -> None:
    """A count out of range, a log id that is not 32 hex digits, or a time that is none, is no layout."""
    with pytest.raises(ValidationError):
        StoreLayout(**{"chunk_count": 4, "log_id": "0" * 32, "created_at": "2026-01-01T00:00:00Z", **change})
