"""What a tool's answer holds: the people it names, and what cannot be examined.

Examined are mappings, lists and other sequences, sets, objects with fields (dataclasses, named tuples, attrs
classes, and pydantic models as their `model_dump` says), and JSON text in the places where tools answer in text: an
answer that is a text itself, and the texts of MCP content (a record of `type: text`, or a resource's).

Values, which name nobody by themselves, are numbers, dates, UUIDs, paths, addresses, enumerations, and every text in
any other place. Everything else is opaque: bytes, iterators and generators, text in those places that is not JSON or
has a key twice, the data of MCP's images, sounds and resources, and any other object.
"""

import dataclasses
import datetime as dt
import ipaddress
import json
import logging
import numbers
import re
import sys
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple

# Keys of a mapping may be data (a name, a number); a row takes only what looks like a field.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_SCALARS = frozenset({str, int, float, bool, type(None)})
_JSON = frozenset({dict, list, tuple})
_VALUES = (
    *(str, type(None), numbers.Number, dt.date, dt.time, dt.timedelta, dt.tzinfo, uuid.UUID, Enum, PurePath, range),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address),
)
_NO_SEQUENCES = (*_VALUES, bytes, bytearray, memoryview)  # though Python says so of some
_CASE_STYLE = str.maketrans("", "", "_- ")
_RESOURCE = frozenset({"uri", "mimeType", "text", "blob", "_meta", "meta"})
_LOG = logging.getLogger(__name__)


class Found(NamedTuple):
    """What an answer holds.

    Attributes:
        subjects: in order of first sight, each with the names of its records' fields.
        opaque: kinds of what could not be examined, never its content.
        top: the answer itself: the fields of an object, the JSON of a text, or as it is.
        has_objects: it holds others than dicts, lists, tuples and values, so its JSON is that of `as_json`.
    """

    subjects: dict[str, set[str]]
    opaque: set[str]
    top: object
    has_objects: bool


class _Shape(NamedTuple):
    """What the names of a record's fields say."""

    ids: list[str]
    fields: set[str]
    is_content: bool


def find_subjects(answer: object, id_fields: Collection[str]) -> Found:
    """The subjects that an answer names, and whether it holds anything that may name others.

    A record is a mapping, or an object with fields, that has an id field, wherever it is: the answer itself, in
    lists, below other fields; an envelope of any shape must not hide a person. An id is text or a UUID, or one of
    several. Numbers are not ids, since an id has its dataset's prefix; a field that holds one causes a warning.

    Args:
        answer: anything; it is left as it is, and an iterator in it is not begun.
        id_fields: names of the fields that hold ids, in whatever case style: `candidate_id` is `candidateId`,
            `CandidateID` and `candidate-id` too.

    Returns:
        The fields of a subject are names that look like identifiers, of up to 64 characters, without the id fields.
    """
    search = _Search(id_fields)
    top = _opened(answer)
    waiting = [answer]
    if isinstance(top, str):
        waiting = search.read(top)
        top = waiting[0] if waiting else top
    seen: dict[int, object] = {}  # holds what it has seen, so that no address is used again
    has_objects = False
    while waiting:
        value = waiting.pop()
        if type(value) in _SCALARS or id(value) in seen:
            continue
        seen[id(value)] = value
        has_objects = has_objects or type(value) not in _JSON
        waiting.extend(reversed(search.look_into(value)))
    for name in sorted(search.numbered):
        _LOG.warning("an answer's %s holds a number, which names no subject: an id is text", name)
    return Found(search.found, search.opaque, top, has_objects)


class _Search:
    """What was found so far, and how to examine another value."""

    def __init__(self, id_fields: Collection[str]) -> None:
        self._wanted = {_without_style(name): place for place, name in enumerate(id_fields)}
        self._shapes: dict[tuple[object, ...], _Shape] = {}  # thousands of records have the same few
        self.found: dict[str, set[str]] = {}
        self.opaque: set[str] = set()
        self.numbered: set[str] = set()

    def look_into(self, value: object) -> Sequence[object]:
        """Note what a value says itself, and return what it holds, in order."""
        if type(value) is list or type(value) is tuple:
            return value
        if type(value) is dict:
            return [*self._record(value), *value.values()]
        inner = _opened(value)
        held: list[object] = []
        if isinstance(inner, Mapping):
            held = [*self._record(inner), *inner.values()]
        elif isinstance(inner, Sequence | AbstractSet) and not isinstance(inner, _NO_SEQUENCES):
            held = list(inner)
        elif not isinstance(inner, _VALUES) and type(inner).__module__ != "pydantic.networks":  # its URLs are values
            self.opaque.add(type(inner).__name__)
        if _is_model(value):
            held.append(_dump(value, by_alias=True))  # a field may hold ids by either of its names
        return held

    def read(self, text: str) -> list[object]:
        """The JSON of a text where a structure was expected; of blank text nothing."""
        if not text.strip():
            return []
        try:
            value = json.loads(text, object_pairs_hook=_each_key_once)
        except (ValueError, RecursionError):
            value = text
        if isinstance(value, str):
            self.opaque.add("text that is not JSON, or has a key twice")
            return []
        return [value]

    def _record(self, record: Mapping[Any, object]) -> list[object]:
        """Note whom a record is about; return what its text says if it is content."""
        names = tuple(record)
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._shapes[names] = _shape(names, self._wanted)
        for name in shape.ids:
            for subject in _ids(record.get(name)):
                if isinstance(subject, str):
                    self.found.setdefault(subject, set()).update(shape.fields)
                else:
                    self.numbered.add(name)
        return self._content(record) if shape.is_content else []

    def _content(self, record: Mapping[Any, object]) -> list[object]:
        """What the text of an MCP content block or resource says; its data are opaque."""
        kind, text = record.get("type"), record.get("text")
        if "uri" in record and isinstance(record.get("blob"), str):
            self.opaque.add("the data of a resource")
        if kind in ("image", "audio") and isinstance(record.get("data"), str):
            self.opaque.add(f"the data of an {kind}")
        return self.read(text) if isinstance(text, str) and (kind == "text" or "uri" in record) else []


def as_json(answer: object) -> object:
    """An answer with its objects as dicts of their fields, and mappings and sequences as dicts and lists.

    What JSON has no type for stays as it is, even a set, since it has no order.

    Raises:
        RecursionError: the answer is nested too deeply, or contains itself.
    """
    if type(answer) in _SCALARS:
        return answer
    inner = _opened(answer)
    if isinstance(inner, Mapping):
        return {key: as_json(value) for key, value in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, _NO_SEQUENCES):
        return [as_json(item) for item in inner]
    return inner


def _opened(value: object) -> object:
    """An object with fields as a mapping of them, any other value as it is."""
    kind: Any = type(value)
    if kind in _JSON or isinstance(value, Mapping | str):
        return value
    if _is_model(value):
        return _dump(value)
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if hasattr(kind, "__attrs_attrs__"):
        return {attribute.name: getattr(value, attribute.name) for attribute in kind.__attrs_attrs__}
    if isinstance(value, Sequence) and hasattr(value, "_asdict"):
        return value._asdict()
    return value


def _is_model(value: object) -> bool:
    """Whether it is a pydantic model; if pydantic is not loaded nothing is one, and it is not loaded for this."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _dump(model: Any, *, by_alias: bool = False) -> object:  # noqa: ANN401 - its class may not be imported here
    # As any: else what a subclass adds to the declared type is left out. Warnings would quote the answer.
    return model.model_dump(by_alias=by_alias, serialize_as_any=True, warnings=False)


def _without_style(name: str) -> str:
    return name.translate(_CASE_STYLE).casefold()


def _shape(names: tuple[object, ...], wanted: Mapping[str, int]) -> _Shape:
    texts = [name for name in names if isinstance(name, str)]
    places = {name: wanted[plain] for name in texts if (plain := _without_style(name)) in wanted}
    has = set(texts)
    return _Shape(
        sorted(places, key=places.__getitem__),
        {name for name in texts if name not in places and _FIELD.fullmatch(name)},
        ("type" in has and bool(has & {"text", "data"})) or ("uri" in has and has <= _RESOURCE),
    )


def _ids(value: object) -> Iterator[str | numbers.Number]:
    several: Collection[object] = (value,)
    if isinstance(value, AbstractSet):
        several = sorted(value, key=str)  # rows must not be in the order of a hash
    elif isinstance(value, Sequence) and not isinstance(value, _NO_SEQUENCES):
        several = value
    for one in several:
        if isinstance(one, str | numbers.Number):
            yield one
        elif isinstance(one, uuid.UUID):
            yield str(one)


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """If a key is there twice, readers disagree on its value, so the text cannot be relied on."""
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key is there twice")
    return record
