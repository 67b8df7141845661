import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import json
import pathlib
import subprocess
import sys
import uuid
from collections import ChainMap, OrderedDict, UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from subject_pipeline.gate.answers.finding import find_subjects
from subject_pipeline.gate.answers.opened import as_json

SECRET = "a-phone-number-of-4711"
FIELDS = ("candidate_id", "subject_id")


@pytest.mark.parametrize(
    ("payload", "subjects"),
    [
        ({"candidate_id": "A"}, ["A"]),
        ({"subject_id": "B", "candidate_id": "A"}, ["A", "B"]),
        ([{"candidate_id": "A"}, {"subject_id": "B"}, {"candidate_id": "A"}], ["A", "B"]),
        ({"records": [{"candidate_id": "A"}], "more": [{"candidate_id": "B"}]}, ["A", "B"]),
        ({"worker": {"candidate_id": "A"}}, ["A"]),
        (
            {"data": {"workers": {"edges": [{"node": {"candidate_id": "A"}}, {"node": {"candidate_id": "B"}}]}}},
            ["A", "B"],
        ),
        ([[{"candidate_id": "A"}], [[{"candidate_id": "B"}]]], ["A", "B"]),
        ({"candidate_id": "A", "referred_by": {"candidate_id": "B"}}, ["A", "B"]),
        ({"candidate_id": ["A", "B"]}, ["A", "B"]),
        (({"candidate_id": "A"},), ["A"]),
        (MappingProxyType({"candidate_id": "A"}), ["A"]),
        ({"candidate_id": None}, []),
        ({"id": "A", "candidate_ids": "B"}, []),
        ({"name": "candidate_id"}, []),
        ("candidate_id", []),
        (None, []),
        ([], []),
    ],
)
def test_subjects_are_found_in_any_envelope(payload: object, subjects: list[str]) -> None:
    """Records at the top, in lists and below other fields name their subjects, each once, in order of first sight."""
    assert list(find_subjects(payload, FIELDS).subjects) == subjects


@pytest.mark.parametrize("number", [17, 1.5, True])
def test_a_number_is_no_id(number: object, caplog: pytest.LogCaptureFixture) -> None:
    """Ids have prefixes, so a number under an id field names nobody; it is warned of, once and without the number."""
    assert not find_subjects([{"subject_id": number}, {"subject_id": number}], FIELDS).subjects

    assert [record.getMessage() for record in caplog.records] == [
        "an answer's subject_id holds a number, which names no subject: an id is text"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*FIELDS, "x", "y", "z"]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


def _recursively(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name in FIELDS:
            held = value.get(name)
            yield from (one for one in (held if isinstance(held, list) else [held]) if isinstance(one, str))
        for item in value.values():
            yield from _recursively(item)
    elif isinstance(value, list):
        for item in value:
            yield from _recursively(item)


@pytest.mark.long
@given(JSON)
def test_no_record_is_overlooked(payload: object) -> None:
    """Whatever JSON an answer is, its ids are found, in order of first sight."""
    assert list(find_subjects(payload, FIELDS).subjects) == list(dict.fromkeys(_recursively(payload)))


@dataclasses.dataclass(slots=True)
class Worker:
    """A record, as many tools have them."""

    candidate_id: str
    held: object = None


class Tuple(NamedTuple):
    """One of a database's rows."""

    candidate_id: str
    held: object = None


@attrs.define
class Defined:
    """The same by attrs."""

    candidate_id: str
    held: object = None


class Row(list[object]):
    """A row as some database drivers have it: a sequence whose names are on the side."""

    def _asdict(self) -> dict[str, object]:
        return dict(zip(("candidate_id", "held"), self, strict=True))


class Model(pydantic.BaseModel):
    """The same by pydantic."""

    candidate_id: str
    held: Any = None


MAKERS = [
    Worker,
    Tuple,
    Defined,
    lambda *values: Row(values),
    lambda id_, held=None: Model(candidate_id=id_, held=held),
]


@pytest.mark.parametrize("make", MAKERS, ids=["dataclass", "named tuple", "attrs", "database row", "pydantic"])
def test_objects_with_fields_are_records(make: Any) -> None:
    """Dataclasses, named tuples, attrs classes and pydantic models name their subjects, in any nesting."""
    answer = {"page": [make("A", {"x": make("B", [make("C", None)])})]}

    found = find_subjects(answer, FIELDS)

    assert found.subjects == {subject: {"held"} for subject in "ABC"}
    assert not found.opaque
    assert found.has_objects
    held = {"candidate_id": "B", "held": [{"candidate_id": "C", "held": None}]}
    assert as_json(answer) == {"page": [{"candidate_id": "A", "held": {"x": held}}]}


class Base(pydantic.BaseModel):
    """What a field is declared as."""


class Aliased(Base):
    """Its field has another name where it goes out."""

    wid: str = pydantic.Field(alias="candidate_id")
    candidate: str = pydantic.Field("W-2", serialization_alias="sid")
    link: pydantic.HttpUrl = pydantic.HttpUrl("https://example.org")


class Envelope(pydantic.BaseModel):
    """Declares less than it holds."""

    people: list[Base]

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def count(self) -> int:
        """Not what it says, of which pydantic would warn, and quote it."""
        return SECRET  # type: ignore[return-value]


def test_a_model_hides_nobody_behind_aliases_or_declared_types(recwarn: pytest.WarningsRecorder) -> None:
    """Fields are looked at by both of their names, and what a subclass adds is too; no warning quotes a value."""
    answer = Envelope(people=[Aliased(candidate_id="W-1")])

    found = find_subjects(answer, ("candidate_id",))

    assert list(found.subjects) == ["W-1"]
    assert list(find_subjects(answer, ("sid", "candidate")).subjects) == ["W-2"]
    assert not found.opaque
    assert not recwarn.list


def test_a_models_root_is_the_answer() -> None:
    """A root model is what it holds: a list of records, or a text."""
    assert list(find_subjects(pydantic.RootModel[list[Model]]([Model(candidate_id="A")]), FIELDS).subjects) == ["A"]
    assert find_subjects(pydantic.RootModel[str]("Ada"), FIELDS).opaque
    assert list(find_subjects(pydantic.RootModel[str]('{"subject_id": "A"}'), FIELDS).subjects) == ["A"]


@pytest.mark.long
def test_pydantic_is_not_loaded_for_it() -> None:
    """Where it is not loaded no answer is a model, and it stays unloaded."""
    code = (
        "import sys; from subject_pipeline.gate.answers.finding import find_subjects as f;"
        "gone = [sys.modules.pop(name) for name in list(sys.modules) if name.partition('.')[0] == 'pydantic'];"
        "print(*f([{'candidate_id': 'A', 'x': {1}}, (1,)], ['candidate_id']).subjects, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True, timeout=60)
    assert done.stdout.split() == ["A", "False"]


@pytest.mark.parametrize(
    "answer",
    [
        [{"candidate_id": "A"}],
        UserList([{"candidate_id": "A"}]),
        deque([{"candidate_id": "A"}]),
        OrderedDict(candidate_id="A"),
        UserDict(candidate_id="A"),
        ChainMap({"candidate_id": "A"}),
        frozenset({Tuple("A")}),
        {"x": {Tuple("A")}},
        {Tuple("A"): 1}.keys(),
        {"candidate_id": {"A"}},
        {"candidate_id": frozenset({"A"})},
        {"candidate_id": deque(["A"])},
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_other_mappings_sequences_and_sets_are_looked_into(answer: object) -> None:
    """Whatever ABC of Python's says that it is one."""
    found = find_subjects(answer, FIELDS)

    assert (list(found.subjects), found.opaque) == (["A"], set())


def test_an_id_that_is_a_uuid_counts_as_its_text() -> None:
    """As it does in JSON, and where a dataset's keys are UUIDs; several in a set stand in one order."""
    ids = {uuid.uuid5(uuid.NAMESPACE_URL, str(number)) for number in range(20)}

    assert list(find_subjects({"candidate_id": ids}, FIELDS).subjects) == sorted(map(str, ids))


@pytest.mark.parametrize(
    "name", ["candidate_id", "candidateId", "CandidateID", "candidate-id", "CANDIDATE_ID", "Candidate Id"]
)
@pytest.mark.parametrize("wanted", ["candidate_id", "candidateId"])
def test_an_id_field_counts_in_whatever_case_style(name: str, wanted: str) -> None:
    """Its name is the same in snake, camel, kebab and any other case, and is no name of a field of the row's."""
    assert find_subjects({name: "A", "x": 1}, [wanted]).subjects == {"A": {"x"}}


def test_a_record_with_its_id_in_two_styles_names_both() -> None:
    """One must not hide the other; names that are only alike are no ids."""
    answer = {"candidateId": "A", "candidate_id": "B", "candidate_ids": "C", "candidate.id": "D", "xcandidate_id": "E"}

    assert list(find_subjects(answer, FIELDS).subjects) == ["A", "B"]


class Colour(enum.Enum):
    """A constant of a program's."""

    RED = 1


def _generator() -> Iterator[object]:
    yield {"candidate_id": "A"}
    raise AssertionError("it was begun")


@pytest.mark.parametrize(
    "value",
    [
        None, True, 1, 1.5, "Ada", 2**70, 1j, decimal.Decimal(1), np.int64(3), np.float64(3), range(10**12),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.time(1), dt.timedelta(1), dt.UTC,
        uuid.UUID(int=1), Colour.RED, pathlib.Path("x"), ipaddress.ip_address("::1"),
        pydantic.HttpUrl("https://example.org"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_are_not_opaque(value: object) -> None:
    """Texts and numbers of a record, and what JSON writes as such, name nobody by themselves."""
    for answer in ({"candidate_id": "A", "value": value}, [value, [value]]):
        assert not find_subjects(answer, FIELDS).opaque


OPAQUE = [
    (b"Ada", "bytes"),
    (bytearray(b"Ada"), "bytearray"),
    (memoryview(b"Ada"), "memoryview"),
    (_generator(), "generator"),
    (iter([1]), "list_iterator"),
    (map(str, [1]), "map"),
    ({"a": 1}.values(), "dict_values"),
    (np.array([{"candidate_id": "A"}]), "ndarray"),
    (object(), "object"),
    (Worker, "type"),
    (ValueError(SECRET), "ValueError"),
    (pydantic.SecretStr(SECRET), "SecretStr"),
]


@pytest.mark.parametrize(("value", "kind"), OPAQUE, ids=[kind for _, kind in OPAQUE])
def test_what_cannot_be_looked_into_is_told_by_its_kind(value: object, kind: str) -> None:
    """Wherever it lies: the answer itself, below fields, in lists and in objects. No iterator is begun."""
    for answer in (value, {"candidate_id": "W-1", "value": value}, [[value]], Worker("W-1", value), Tuple("W", value)):
        assert find_subjects(answer, FIELDS).opaque == {kind}


def test_a_generator_in_a_model_is_neither_missed_nor_begun() -> None:
    """Pydantic would wrap it."""

    class Lazy(pydantic.BaseModel):
        people: Iterable[Any]

    answer = Lazy(people=(record for record in [{"candidate_id": "A"}]))

    assert find_subjects(answer, FIELDS).opaque == {"SerializationIterator"}
    assert [*answer.people] == [{"candidate_id": "A"}]


NO_JSON = "text that is not JSON, or has a key twice"
TEXTS = [
    ('{"candidate_id": "A"}', ["A"], set()),
    (' [{"candidate_id": "A"}, {"subjectId": "B"}]\n', ["A", "B"], set()),
    ("[]", [], set()),
    ("17", [], set()),
    ("null", [], set()),
    ("", [], set()),
    (" \n", [], set()),
    ("Ada lives in Kiel", [], {NO_JSON}),
    ('"Ada lives in Kiel"', [], {NO_JSON}),
    ('{"candidate_id": "A"', [], {NO_JSON}),
    ('{"candidate_id": "A"}\n{"candidate_id": "B"}', [], {NO_JSON}),
    ('{"candidate_id": "A", "candidate_id": "B"}', [], {NO_JSON}),
    ('{"x": {"y": 1, "y": {"candidate_id": "A"}}}', [], {NO_JSON}),
    ("[" * 100_000 + "]" * 100_000, [], {NO_JSON}),
    ("1" * 5_000, [], {NO_JSON}),
    ("\ufeff{}", [], {NO_JSON}),
]


class Block(pydantic.BaseModel):
    """A block of MCP content, as its library has them."""

    type: str
    text: str | None = None
    annotations: object = None


@pytest.mark.parametrize(("text", "subjects", "opaque"), TEXTS, ids=lambda value: repr(value)[:30])
def test_text_in_the_place_of_a_structure_is_json_or_opaque(text: str, subjects: list[str], opaque: set[str]) -> None:
    """An answer that is a text, and the texts of MCP content, are parsed; of a key twice no value can be relied on."""
    resource = {"uri": "file:///x", "mimeType": "application/json", "text": text}
    for answer in (
        text,
        {"content": [{"type": "text", "text": text}], "isError": False},
        {"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": text, "annotations": None}]}},
        [Block(type="text", text=text)],
        {"content": [{"type": "resource", "resource": resource}]},
        {"contents": [resource]},
    ):
        found = find_subjects(answer, FIELDS)
        assert (list(found.subjects), found.opaque) == (subjects, opaque)


def test_json_text_in_json_text_is_looked_into() -> None:
    """What a server wraps twice hides nobody either."""
    inner = json.dumps({"content": [{"type": "text", "text": '{"candidate_id": "A"}'}]})

    assert list(find_subjects({"content": [{"type": "text", "text": inner}]}, FIELDS).subjects) == ["A"]


@pytest.mark.parametrize(
    ("block", "opaque"),
    [
        ({"type": "image", "data": "aGk=", "mimeType": "image/png"}, {"the data of an image"}),
        ({"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}, {"the data of an audio"}),
        ({"type": "resource", "resource": {"uri": "file:///x", "blob": "aGk="}}, {"the data of a resource"}),
        ({"type": "resource_link", "uri": "file:///x", "name": "x", "description": "all of them"}, set()),
        ({"type": "image", "name": "photo.png"}, set()),
        ({"type": "note", "text": "Ada lives in Kiel", "candidate_id": "A"}, set()),
        ({"uri": "file:///x", "text": "Ada lives in Kiel", "candidate_id": "A"}, set()),
        ({"text": "Ada lives in Kiel", "data": "aGk="}, set()),
        ({"type": ["text"], "text": "Ada"}, set()),
        ({"type": "text", "text": {"candidate_id": "A"}}, set()),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_content_is_opaque_where_it_holds_data(block: dict[str, Any], opaque: set[str]) -> None:
    """Images, sounds and blobs are; what merely resembles content is a record like any other."""
    assert find_subjects({"content": [block]}, FIELDS).opaque == opaque


def test_structured_content_is_looked_into_beside_the_text() -> None:
    """People of either are found."""
    answer = {
        "structuredContent": {"candidate_id": "A"},
        "content": [{"type": "text", "text": '[{"candidate_id": "B"}]'}],
    }

    assert list(find_subjects(answer, FIELDS).subjects) == ["A", "B"]


def test_the_top_of_an_answer_is_what_it_says() -> None:
    """The fields of an object, the JSON of a text, else the answer."""
    assert find_subjects(Worker("A"), FIELDS).top == {"candidate_id": "A", "held": None}
    assert find_subjects('{"error": "boom"}', FIELDS).top == {"error": "boom"}
    assert find_subjects("boom", FIELDS).top == "boom"
    answer = [{"candidate_id": "A"}]
    found = find_subjects(answer, FIELDS)
    assert (found.top is answer, found.has_objects) == (True, False)


@given(JSON)
def test_json_stays_as_it_is(payload: Any) -> None:
    """Of what is JSON already the JSON is the same, and nothing of it is opaque but a text alone."""
    assert repr(as_json(payload)) == repr(payload)
    assert isinstance(payload, str) or not find_subjects(payload, FIELDS).opaque


def test_a_set_has_no_json() -> None:
    """Its order is nobody's, so no hash could be checked later."""
    assert as_json({"x": (1, {2})}) == {"x": [1, {2}]}


@pytest.mark.parametrize("ids", [FIELDS, {"candidate_id": "", "worker_id": "W-"}], ids=["fields", "prefixes"])
@pytest.mark.parametrize("text", ["A is late", "candidate_id", "[sic] A", "{A}", "12", "null", '"A"', "[1, 2]", ""])
def test_text_elsewhere_is_a_value(text: str, ids: Any) -> None:
    """Anyone who is named in words is not looked for, whatever the text looks like."""
    found = find_subjects([{"candidate_id": "A", "note": text}], ids)
    assert (list(found.subjects), found.opaque) == (["A"], set())


@pytest.mark.parametrize(
    "text", ['{"candidate_id": "A"}', ' [{"a": {"CandidateId": "A"}}]', '"{\\"candidate_id\\": \\"A\\"}"']
)
def test_json_in_a_text_is_looked_into_wherever_it_is(text: str) -> None:
    """Also by anyone who only records."""
    assert list(find_subjects({"note": [text]}, FIELDS).subjects) == ["A"]


PREFIXED = {"worker_id": "W-", "candidate_id": ""}


@pytest.mark.parametrize(
    ("answer", "subjects"),
    [
        ({"worker_id": "7"}, ["W-7"]),
        ({"worker_id": "W-7"}, ["W-7"]),
        ({"worker_id": 7}, ["W-7"]),
        ({"worker_id": -7}, ["W--7"]),
        ({"worker_id": "007"}, ["W-007"]),
        ({"worker_id": 7, "candidate_id": 7}, ["W-7", "7"]),
        ({"worker_id": [7, "8", None]}, ["W-7", "W-8"]),
        ({"worker_id": uuid.UUID(int=7)}, [f"W-{uuid.UUID(int=7)}"]),
        ({"worker_id": 2**70}, [f"W-{2**70}"]),
        ({"worker_id": None}, []),
        ({"workers_id": 7}, []),
    ],
)
def test_where_prefixes_are_known_an_id_gets_its_own(answer: Any, subjects: list[str], caplog: Any) -> None:
    """Numbers are ids then, and nothing is warned of."""
    found = find_subjects(answer, PREFIXED)
    assert (list(found.subjects), found.opaque, caplog.records) == (subjects, set(), [])
