# Longer than other files, because what may be done to a document, and what becomes of it, should be seen together.

import json
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subject_pipeline.errors import ManifestError
from subject_pipeline.manifests.frames import TABLE_SCHEMA, to_rows, usual_documents_of
from subject_pipeline.manifests.manifest import VOCABULARY, SubjectManifest
from subject_pipeline.manifests.usual_documents import AT, document_rows, usual_rows
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal
from subject_pipeline_tests.helpers.lives import LIVES, only_times
from subject_pipeline_tests.helpers.strategies import json_values, manifests, text

LAYOUT = ChunkLayout(4)
MOMENTS = ["0001-01-01T00:00:00.000000Z", "2026-02-28T03:04:05.678901Z", "9999-12-31T23:59:59.999999Z"]
OTHER_MOMENTS = [
    "0000-01-01T00:00:00.000000Z",
    "+10000-01-01T00:00:00.000000Z",
    "-001-01-01T00:00:00.000000Z",
    "2026-02-29T00:00:00.000000Z",
    "2026-01-02T24:00:00.000000Z",
    "2026-01-02T23:59:60.000000Z",
    "2026-01-02T03:04:05Z",
    "2026-01-02T03:04:05.678Z",
    "2026-01-02T03:04:05.678901999Z",
    "2026-01-02T03:04:05.678901z",
    "2026-01-02 03:04:05.678901Z",
    "2026-01-02T05:04:05.678901+02:00",
    "2026-01-02T03:04:05.678901-00:00",
    "2026-01-02T03:04:05.678901",
    " 2026-01-02T03:04:05.678901Z",
    "2026-01-02T03:04:05.678901Z\n",
    "\uff12026-01-02T03:04:05.678901Z",
    "1767323045",
    "",
]
moments = st.sampled_from(MOMENTS)


def _words(field: str) -> st.SearchStrategy[str]:
    return st.sampled_from(VOCABULARY[field])


usual_documents = st.fixed_dictionaries(
    {
        "schema": st.just("subject_manifest.v1"),
        "candidate_id": text.filter(bool),
        "created_at": moments,
        "updated_at": moments,
        "status": _words("status"),
        "vertical": _words("vertical"),
        "consent": st.fixed_dictionaries(
            {
                "general_pii": st.fixed_dictionaries(
                    {
                        "status": _words("consent.general_pii.status"),
                        "version": st.none() | text,
                        "given_at": st.none() | moments,
                        "withdrawn_at": st.none() | moments,
                    }
                ),
                "biometric": st.fixed_dictionaries(
                    {"status": _words("consent.biometric.status"), "retention_until": st.none() | moments}
                ),
            }
        ),
        "retention": st.fixed_dictionaries({"general_pii_until": moments, "policy": _words("retention.policy")}),
        "datasets": st.lists(st.fixed_dictionaries({"name": text, "key_column": text, "key_value": text}), max_size=3),
        "safe_views": st.lists(text, max_size=3),
        "audit_log_path": text,
        "audit_log_chain_root": text,
    }
).map(lambda document: SubjectManifest.parse(document).as_json())  # in the order of an export
DOCUMENT: dict[str, Any] = json.loads(
    SubjectManifest.parse(
        {
            "candidate_id": "WÖRKER/1",
            "created_at": MOMENTS[1],
            "updated_at": MOMENTS[1],
            "retention": {"general_pii_until": MOMENTS[2]},
            "datasets": [{"name": "workers", "key_column": "worker_id", "key_value": '"1\n'}],
            "safe_views": ["one"],
        }
    ).to_json()
)
odd_values = st.one_of(
    json_values,
    st.sampled_from([None, True, 0, 1.0, 2**63, 2**64, 10**400, [], {}, [None], [{}], ["x"], "", "x" * 201, "\0"]),
    st.sampled_from([*OTHER_MOMENTS, *(word for words in VOCABULARY.values() for word in words)]),
    st.sampled_from(["subject_manifest.v2", "subject_manifest.v1\n", "something", "9" * 300, [DOCUMENT["datasets"]]]),
)


class _Twice(dict[str, Any]):
    """Written with each of its members there twice."""

    def __init__(self, first: dict[str, Any], then: dict[str, Any]) -> None:
        super().__init__(first or {"": 0})  # `json.dumps` asks whether there is any
        self._members = [*first.items(), *then.items()]

    def items(self) -> Any:
        return self._members


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every member of every object and array in a document: where it is, and under which key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _replaced(document: Any, at: int, value: Any) -> Any:
    places = _places(document)
    inside, key = places[at % len(places)]
    inside[key] = value
    return document


def _changed(document: Any, at: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The document with one of its objects changed as a whole."""
    root = [document]
    holders = [(inside, key) for inside, key in _places(root) if isinstance(inside[key], dict)]
    inside, key = holders[at % len(holders)]
    inside[key] = change(inside[key])
    return root[0]


@st.composite
def odd_texts(draw: st.DrawFn) -> bytes:
    """A usual document to which something was done that a reader may or may not notice."""
    document = json.loads(json.dumps(draw(usual_documents)))
    at = draw(st.integers(0, 40))
    kind = draw(st.sampled_from(["value", "twice", "order", "gone", "unknown", "name", "bytes", "spaces", "inserted"]))
    if kind == "value":
        document = _replaced(document, at, draw(odd_values))
    elif kind == "twice":
        other = draw(odd_values)
        document = _changed(document, at, lambda part: _Twice(part, {next(iter(part), ""): other}))
        if draw(st.booleans()):
            document = _changed(document, at, lambda part: _Twice({next(iter(part), ""): other}, part))
    elif kind == "order":
        document = _changed(document, at, lambda part: dict(reversed(part.items())))
    elif kind == "gone":
        document = _changed(document, at, lambda part: dict(list(part.items())[1:]))
    elif kind == "unknown":
        name, value = draw(text), draw(json_values)
        document = _changed(document, at, lambda part: {**part, name: part.get(name, value)})
    elif kind == "name":
        document = _changed(
            document, at, lambda part: {f"{name} "[: at % 9 + 1]: value for name, value in part.items()}
        )
    written = json.dumps(
        document, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    ).encode("utf-8", "surrogatepass")
    if kind == "spaces":
        space = draw(
            st.sampled_from([b" ", b"\n", b"\t\r", b"\x0b", b"\x0c", b"\xa0", "\u2028".encode(), b"\xef\xbb\xbf"])
        )
        return draw(st.sampled_from([written + space, space + written, written.replace(b":", b":" + space)]))
    if kind in {"bytes", "inserted"}:
        at = draw(st.integers(0, len(written) - 1))
        new = draw(
            st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", rb"\ud800", rb"\u0041", b"\0", b"\x7f", b'"', b","])
        )
        return written[:at] + new + written[at + (kind == "bytes") :]
    return written


def _whole(document: bytes, words: dict[str, dict[str, str]]) -> SubjectManifest | str:
    """What the whole path makes of a document; text where it does not import it."""
    try:
        manifest = SubjectManifest.parse(document).translated(words)
    except ManifestError as error:
        return str(error)
    return refusal(manifest.candidate_id, manifest.candidate_id) or manifest.unknown_word() or manifest


def _text(document: SubjectManifest | dict[str, Any]) -> bytes:
    value = document.as_json() if isinstance(document, SubjectManifest) else document
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _texts(document: dict[str, Any]) -> list[bytes]:
    """With white space and without."""
    return [_text(document), json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"]


@pytest.mark.long
@given(st.lists(usual_documents, max_size=4))
@example([DOCUMENT])
def test_usual_documents_are_read_by_column(documents: list[dict[str, Any]]) -> None:
    """Every document in the form of an export is, with and without white space: each place once, in order."""
    texts = [one for document in documents for one in _texts(document)]
    long = {at for at, one in enumerate(texts) if isinstance(_whole(one, {}), str)}  # an id may be too long

    found = usual_rows(texts, LAYOUT, {})

    assert found[AT].to_list() == [at for at in range(len(texts)) if at not in long]


@pytest.mark.long
@given(st.lists(odd_texts() | usual_documents.map(_text) | manifests().map(_text), max_size=4))
def test_what_is_read_by_column_is_what_parsing_makes_of_it(documents: list[bytes]) -> None:
    """Whatever was done to a document: it is left to the whole path, or gives the row that this path gives."""
    for words in ({}, {"status": {"active": "restricted"}, "retention.policy": {"4_year_default": "4_year_default"}}):
        found = usual_rows(documents, LAYOUT, words)

        whole = [_whole(documents[at], words) for at in found[AT]]
        assert [one for one in whole if isinstance(one, str)] == []
        assert found.drop(AT).equals(to_rows([one for one in whole if not isinstance(one, str)], LAYOUT))
        if words:
            assert found.is_empty()


@pytest.mark.parametrize("moment", OTHER_MOMENTS)
@pytest.mark.parametrize("at", ["created_at", "updated_at"])
def test_other_times_are_left_to_the_whole_path(moment: str, at: str) -> None:
    """Those of another form, and those that no calendar has."""
    assert usual_rows(_texts({**DOCUMENT, at: moment}), LAYOUT, {}).is_empty()


@pytest.mark.parametrize("place", range(len(_places(DOCUMENT))))
@pytest.mark.parametrize("value", [None, True, 7, 1.5, 2**64, [], {}, [None], [1], [[]], [{}], ["\ud800"], "\ud800"])
def test_a_value_of_another_type_is_left_wherever_it_is(place: int, value: Any) -> None:
    """Unless the whole path takes it too, and makes the same row of it."""
    document = _replaced(json.loads(json.dumps(DOCUMENT)), place, value)
    written = json.dumps(document, separators=(",", ":")).encode()

    found = usual_rows([written], LAYOUT, {})

    whole = _whole(written, {})
    assert found.is_empty() or found.drop(AT).equals(
        to_rows([one for one in [whole] if not isinstance(one, str)], LAYOUT)
    )


def test_nothing_is_usual_in_nothing() -> None:
    """No document, no row."""
    assert usual_rows([], LAYOUT, {}).schema == {**to_rows([], LAYOUT).schema, AT: pl.Int64}


@pytest.mark.parametrize(
    "text",
    [
        _text(DOCUMENT)[:-1] + b',"status":"active"}',
        _text(DOCUMENT).replace(b'"policy":', b'"policy":"other","policy":'),
        _text(dict(reversed(DOCUMENT.items()))),
        _text({**DOCUMENT, "newer": None}),
        _text({**DOCUMENT, "schema": "subject_manifest.v2"}),
        _text({**DOCUMENT, "candidate_id": ""}),
        _text({**DOCUMENT, "candidate_id": "x" * 201}),
        _text({**DOCUMENT, "status": "archived"}),
        _text(DOCUMENT) + b"\x0b",
        _text(DOCUMENT).replace("Ö".encode(), b"\xff"),
        _text(DOCUMENT).replace("Ö".encode(), rb"\ud800"),
        _text(DOCUMENT) * 2,
    ],
)
def test_what_is_not_an_export_is_left_to_the_whole_path(text: bytes) -> None:
    """A key twice, another order or another field too, though parsing would take them."""
    assert usual_rows([text], LAYOUT, {}).is_empty()


_turned = usual_documents.map(lambda document: dict(reversed(document.items())))


_lives = (LIVES | LIVES.map(only_times)).map(SubjectManifest.as_json)


@pytest.mark.long
@given(st.lists(usual_documents | _turned | _lives | manifests().map(SubjectManifest.as_json), max_size=5))
def test_rows_of_documents_are_those_of_their_manifests(documents: list[dict[str, Any]]) -> None:
    """Usual or not, and whatever the order of their fields."""
    expected = to_rows(map(SubjectManifest.parse, documents), LAYOUT)
    assert sorted(document_rows(documents, LAYOUT).rows(), key=repr) == sorted(expected.rows(), key=repr)


@pytest.mark.long
@given(LIVES.map(only_times))
def test_a_restriction_and_an_order_need_no_manifest_to_be_made(one: SubjectManifest) -> None:
    """Of somebody whose words are known: hundreds of thousands are ordered at once."""
    document = one.as_json()
    usual = one.unknown_word() is None
    with pytest.MonkeyPatch.context() as patch:
        if usual:
            patch.setattr(SubjectManifest, "parse", None)
        (row,) = document_rows([document], LAYOUT).rows(named=True)
        found = usual_documents_of(pl.DataFrame([row], schema=TABLE_SCHEMA))
    assert found == [document]
    assert list(found[0] or {}) == list(document)


@pytest.mark.parametrize(
    "more",
    [
        {"restricted_at": "2026-02-30T00:00:00.000000Z"},
        {"restricted_at": "2026-02-01T00:00:00Z"},
        {"restricted_at": None},
        {"restricted_at": ""},
        {"restricted_at": 7},
        {"erasure_ordered_at": MOMENTS[0], "newer": MOMENTS[0]},
        {"holds": []},
    ],
)
def test_further_fields_that_are_not_times_alone_are_left_to_the_whole_path(more: dict[str, Any]) -> None:
    """It takes them or refuses them, by column as one by one."""
    documents = [{**DOCUMENT, **more}]
    try:
        expected = to_rows(map(SubjectManifest.parse, documents), LAYOUT)
    except ManifestError:
        with pytest.raises(ManifestError):
            document_rows(documents, LAYOUT)
    else:
        assert document_rows(documents, LAYOUT).equals(expected)
    row = to_rows([SubjectManifest.parse(DOCUMENT)], LAYOUT).with_columns(extra=pl.lit(json.dumps(more)))
    assert usual_documents_of(row) == [None]
