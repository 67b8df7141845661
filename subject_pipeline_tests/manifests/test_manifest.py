import contextlib
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.errors import ManifestError
from subject_pipeline.formats.times import format_time
from subject_pipeline.manifests.manifest import (
    DatasetReference,
    SubjectManifest,
    audit_log_path,
    new_manifest,
    translations,
)
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key
from subject_pipeline_tests.helpers.strategies import manifests, times

GOLDEN = Path(__file__).parent.parent / "vectors" / "manifest_v1.json"
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)
CANDIDATE = "WORKER-Zoë/1"


def _golden() -> SubjectManifest:
    return new_manifest(
        candidate_id=CANDIDATE,
        dataset=DatasetReference(name="workers", key_column="worker_id", key_value="Zoë/1"),
        safe_views=("public_profile", "shift_plan"),
        chunk=ChunkLayout(64).chunk_of(storage_key(CANDIDATE)),
        now=NOW,
    )


def _document(**changes: Any) -> dict[str, Any]:
    return _golden().as_json() | changes


def test_a_new_manifest_is_byte_for_byte_the_golden_one() -> None:
    """The JSON of a new manifest, its order of fields and its form of times do not change unnoticed."""
    assert _golden().to_json().encode() == GOLDEN.read_bytes()


def test_the_golden_manifest_parses_to_the_new_one() -> None:
    """The golden bytes are read as the manifest that they were written from."""
    assert SubjectManifest.parse(GOLDEN.read_bytes()) == _golden()


def test_a_new_subject_gets_defensible_defaults() -> None:
    """Nothing is inferred: vertical unknown, consent pending, biometric never collected, four years of retention."""
    document = json.loads(_golden().to_json())
    assert document["schema"] == "subject_manifest.v1"
    assert document["vertical"] == "unknown"
    assert document["status"] == "active"
    assert document["consent"] == {
        "general_pii": {
            "status": "pending_backfill_review",
            "version": "",
            "given_at": None,
            "withdrawn_at": None,
        },
        "biometric": {"status": "never_collected", "retention_until": None},
    }
    until = NOW + dt.timedelta(days=365 * 4)
    assert document["retention"] == {"general_pii_until": format_time(until), "policy": "4_year_default"}
    assert document["created_at"] == document["updated_at"] == "2026-01-02T03:04:05.678901Z"
    assert document["audit_log_chain_root"] == ""


def test_the_fields_stand_in_their_fixed_order() -> None:
    """A manifest's JSON has the twelve fields in the order of the design, and no other."""
    assert list(json.loads(_golden().to_json())) == [
        "schema",
        "candidate_id",
        "created_at",
        "updated_at",
        "status",
        "vertical",
        "consent",
        "retention",
        "datasets",
        "safe_views",
        "audit_log_path",
        "audit_log_chain_root",
    ]


def test_the_audit_log_path_is_the_chunks_log() -> None:
    """A subject's log is the log of its chunk."""
    assert audit_log_path("chunk-0a") == "audit/chunk-0a"


@pytest.mark.long
@given(manifests())
def test_parse_after_serialize_is_identity(manifest: SubjectManifest) -> None:
    """A manifest survives its JSON, as text, bytes or values, unknown fields at every depth included."""
    text = manifest.to_json()
    for again in (
        SubjectManifest.parse(text),
        SubjectManifest.parse(text.encode()),
        SubjectManifest.parse(json.loads(text)),
    ):
        assert again == manifest
        assert again.to_json() == text


@given(manifests())
def test_a_manifest_is_one_line(manifest: SubjectManifest) -> None:
    """No value breaks the line that a manifest is written on."""
    assert "\n" not in manifest.to_json()


def test_unknown_fields_are_kept_in_order_after_ours() -> None:
    """What a newer writer added is kept at its depth, in its order, behind the fields that we know."""
    document = _document(zebra=1, apple={"b": [1, {"c": None}], "a": 2.5})
    document["consent"] = {"biometric": {"newer": True, "status": "given"}, "newer": {"x": 1}}
    document["datasets"][0]["newer"] = ["y"]
    written = json.loads(SubjectManifest.parse({"zebra": 1, **document}).to_json())
    assert list(written)[-2:] == ["zebra", "apple"]
    assert list(written["apple"]) == ["b", "a"]
    assert list(written["consent"]) == ["general_pii", "biometric", "newer"]
    assert list(written["consent"]["biometric"]) == ["status", "retention_until", "newer"]
    assert written["datasets"][0]["newer"] == ["y"]


@given(times, st.integers(-14 * 60, 14 * 60))
def test_times_are_written_in_utc_with_six_decimals(time: dt.datetime, minutes: int) -> None:
    """A time of any zone is written as RFC 3339 in UTC, with exactly six decimals and `Z`."""
    local = time.astimezone(dt.timezone(dt.timedelta(minutes=minutes)))
    text = format_time(local)
    assert text == time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert dt.datetime.fromisoformat(text) == time


def test_a_time_of_the_first_millennium_has_a_year_of_four_digits() -> None:
    """RFC 3339 knows years of four digits alone."""
    assert format_time(dt.datetime(999, 1, 1, tzinfo=dt.UTC)) == "0999-01-01T00:00:00.000000Z"


def test_a_time_in_another_zone_is_the_same_instant() -> None:
    """A foreign writer's offset and fewer decimals are read as the instant they mean."""
    parsed = SubjectManifest.parse(_document(created_at="2026-01-02T04:04:05.5+01:00"))
    assert json.loads(parsed.to_json())["created_at"] == "2026-01-02T03:04:05.500000Z"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"candidate_id": ""}, "candidate_id"),
        ({"candidate_id": 1}, "candidate_id"),
        ({"candidate_id": None}, "candidate_id"),
        ({"schema": "subject_dataset.v1"}, "schema"),
        ({"schema": "subject_manifest.v1\n"}, "schema"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"consent": {"general_pii": {"given_at": "2026-01-01"}}}, "consent.general_pii.given_at"),
        ({"retention": {}}, "retention.general_pii_until"),
        ({"datasets": [{"name": "a", "key_column": "b"}]}, "datasets.0.key_value"),
        ({"datasets": {}}, "datasets"),
        ({"safe_views": [1]}, "safe_views.0"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field_named(change: dict[str, Any], field: str) -> None:
    """What is no manifest is our own error, which names the field."""
    with pytest.raises(ManifestError, match=f"not a subject manifest: {field}: "):
        SubjectManifest.parse(json.dumps(_document(**change)))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_no_calendar_holds_is_refused(time: str) -> None:
    """A time outside the years 1 to 9999 in UTC is our own error like any wrong value."""
    with pytest.raises(ManifestError, match="created_at"):
        SubjectManifest.parse(json.dumps(_document(created_at=time)))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b"[]", b"\xff\xfe", b'"text"', b"{}", b"[" * 5000, b'{"schema":"\\ud800"}']
)
def test_bytes_that_are_no_manifest_are_our_own_error(text: bytes) -> None:
    """Bytes that are not JSON, or JSON that is no manifest, never raise anything else."""
    with pytest.raises(ManifestError, match="not a subject manifest: "):
        SubjectManifest.parse(text)


@given(st.binary(max_size=200), st.integers(0, 600))
def test_damaged_bytes_are_a_manifest_or_our_own_error(junk: bytes, at: int) -> None:
    """Junk put into a manifest's bytes ends in a manifest or in our own error."""
    good = GOLDEN.read_bytes()
    with contextlib.suppress(ManifestError):
        SubjectManifest.parse(good[:at] + junk + good[at + len(junk) :])


def test_words_are_translated_where_ours_belongs() -> None:
    """A word becomes ours in each field that has ours, and nowhere else; one word may become two in two fields."""
    words = translations(["none=never_collected", "none=pending_backfill_review", "a=b=given", "unknown=refused"])
    manifest = SubjectManifest.parse(
        {
            **_golden().as_json(),
            "consent": {"general_pii": {"status": "none"}, "biometric": {"status": "none"}},
        }
    )

    translated = manifest.translated(words)

    assert translated.vertical == "unknown"
    assert translated.consent.general_pii.status == "pending_backfill_review"
    assert translated.consent.biometric.status == "never_collected"
    assert translated.unknown_word() is None
    assert words["consent.biometric.status"]["a=b"] == "given"
    assert _golden().translated(words) == _golden()


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        (["granted"], "THEIRS=OURS"),
        (["granted="], "THEIRS=OURS"),
        (["granted=gvien"], "given, refused"),
        (["x=given", "x=refused"], "both 'given' and 'refused'"),
    ],
)
def test_a_translation_that_means_nothing_is_refused(pairs: list[str], words: str) -> None:
    """It is named, with the words that there are."""
    with pytest.raises(ManifestError, match=words):
        translations(pairs)
