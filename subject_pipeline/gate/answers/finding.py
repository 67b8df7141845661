"""Finding the people whom an answer names, and what in it cannot be examined; the package says what that is."""

import json
import logging
import numbers
import re
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from subject_pipeline.gate.answers.ids import prefixed, whole, without_style
from subject_pipeline.gate.answers.opened import JSON, NO_SEQUENCES, SCALARS, VALUES, dump, is_model, opened

# Keys of a mapping may be data (a name, a number); a row takes only what looks like a field.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_RESOURCE = frozenset({"uri", "mimeType", "text", "blob", "_meta", "meta"})
_JSON_BEGINS = ("{", "[", '"')
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

    ids: dict[str, str | None]
    fields: set[str]
    is_content: bool


def find_subjects(answer: object, id_fields: Collection[str] | Mapping[str, str]) -> Found:
    """The subjects that an answer names, and whether it holds anything that may name others.

    A record is a mapping, or an object with fields, that has an id field, wherever it is: the answer itself, in
    lists, below other fields; an envelope of any shape must not hide a person. An id is text or a UUID, or one of
    several. Where prefixes are known, it may be a whole number too, and an id without its prefix gets it; otherwise
    numbers are not ids, and a field that holds one causes a warning.

    Args:
        answer: anything; it is left as it is, and an iterator in it is not begun.
        id_fields: names of the fields that hold ids, in whatever case style: `candidate_id` is `candidateId`,
            `CandidateID` and `candidate-id` too; or the prefix of the ids of each.

    Returns:
        The fields of a subject are names that look like identifiers, of up to 64 characters, without the id fields.
    """
    search = Search(id_fields)
    top = opened(answer)
    waiting = [answer]
    if isinstance(top, str):
        waiting = search.read(top)
        top = waiting[0] if waiting else top
    seen: dict[int, object] = {}  # holds what it has seen, so that no address is used again
    has_objects = False
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            waiting.extend(search.within(value))
            continue
        if type(value) in SCALARS or id(value) in seen:
            continue
        seen[id(value)] = value
        has_objects = has_objects or type(value) not in JSON
        waiting.extend(reversed(search.look_into(value)))
    for name in sorted(search.numbered):
        _LOG.warning("an answer's %s holds a number, which names no subject: an id is text", name)
    return Found(search.found, search.opaque, top, has_objects)


class Search:
    """What was found so far, and how to examine another value."""

    def __init__(self, id_fields: Collection[str] | Mapping[str, str]) -> None:
        self._knows_prefixes = isinstance(id_fields, Mapping)
        prefixes = id_fields if isinstance(id_fields, Mapping) else dict.fromkeys(id_fields)
        self._wanted = {without_style(name): prefix for name, prefix in prefixes.items()}
        self._named = re.compile(
            "[\"'](?:" + "|".join("[_ -]*".join(map(re.escape, name)) for name in self._wanted) + ")[\"']",
            re.IGNORECASE,
        )
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
        inner = opened(value)
        held: list[object] = []
        if isinstance(inner, Mapping):
            held = [*self._record(inner), *inner.values()]
        elif isinstance(inner, Sequence | AbstractSet) and not isinstance(inner, NO_SEQUENCES):
            held = list(inner)
        elif not isinstance(inner, VALUES) and type(inner).__module__ != "pydantic.networks":  # its URLs are values
            self.opaque.add(type(inner).__name__)
        if is_model(value):
            held.append(dump(value, by_alias=True))  # a field may hold ids by either of its names
        return held

    def read(self, text: str) -> list[object]:
        """The JSON of a text where a structure was expected; of blank text nothing."""
        if not text.strip():
            return []
        value = self._parsed(text)
        if isinstance(value, str):
            self.opaque.add(_NO_JSON)
            return []
        return [value]

    def within(self, text: str) -> list[object]:
        """The JSON of a text in any other place, where it is an object, an array, or such JSON as a text again."""
        if text.lstrip()[:1] in _JSON_BEGINS:
            value = self._parsed(text)
            if not isinstance(value, str):
                return [value]
            if value is not text:
                return self.within(value)
        if self._knows_prefixes and self._named.search(text) is not None:
            self.opaque.add("text that is not JSON, and has an id field in it")
        return []

    def _parsed(self, text: str) -> object:
        """What a text says; the text itself where it is not JSON."""
        try:
            return json.loads(text, object_pairs_hook=_each_key_once)
        except _TwiceError:
            self.opaque.add(_NO_JSON)
        except (ValueError, RecursionError):
            pass
        return text

    def ids(self, record: Mapping[Any, object]) -> Iterator[str]:
        """The ids that a record has in its own fields."""
        for name, prefix in self._shape(record).ids.items():
            for one in _several(record.get(name)):
                if isinstance(one, str | uuid.UUID):
                    text = str.__str__(one) if isinstance(one, str) else str(one)
                    yield text if prefix is None else prefixed(prefix, text)
                elif prefix is not None:
                    yield from self._numbered(prefix, one)
                elif isinstance(one, numbers.Number):
                    self.numbered.add(name)

    def _numbered(self, prefix: str, value: object) -> Iterator[str]:
        """The id that a whole number is; null is none, and nobody knows whom anything else names."""
        if value is None:
            return
        number = whole(value)
        if number is None:
            self.opaque.add("an id field that holds no id")
        else:
            yield f"{prefix}{number}"

    def _shape(self, record: Mapping[Any, object]) -> "_Shape":
        names = tuple(record)
        shape = self._shapes.get(names)
        if shape is None:
            shape = self._shapes[names] = _shape(names, self._wanted)
        return shape

    def _record(self, record: Mapping[Any, object]) -> list[object]:
        """Note whom a record is about; return what its text says if it is content."""
        shape = self._shape(record)
        for subject in self.ids(record) if shape.ids else ():
            self.found.setdefault(subject, set()).update(shape.fields)
        return self._content(record) if shape.is_content else []

    def _content(self, record: Mapping[Any, object]) -> list[object]:
        """What the text of an MCP content block or resource says; its data are opaque."""
        kind, text = record.get("type"), record.get("text")
        if "uri" in record and isinstance(record.get("blob"), str):
            self.opaque.add("the data of a resource")
        if kind in ("image", "audio") and isinstance(record.get("data"), str):
            self.opaque.add(f"the data of an {kind}")
        return self.read(text) if isinstance(text, str) and (kind == "text" or "uri" in record) else []


_NO_JSON = "text that is not JSON, or has a key twice"


def _several(value: object) -> Collection[object]:
    """What an id field holds: one, or several."""
    if isinstance(value, AbstractSet):
        return sorted(value, key=str)  # rows must not be in the order of a hash
    if isinstance(value, Sequence) and not isinstance(value, NO_SEQUENCES):
        return value
    return (value,)


def _shape(names: tuple[object, ...], wanted: Mapping[str, str | None]) -> _Shape:
    texts = [name for name in names if isinstance(name, str)]
    places = {plain: place for place, plain in enumerate(wanted)}
    ids = {name: plain for name in texts if (plain := without_style(name)) in wanted}
    has = set(texts)
    return _Shape(
        {name: wanted[ids[name]] for name in sorted(ids, key=lambda name: places[ids[name]])},
        {name for name in texts if name not in ids and _FIELD.fullmatch(name)},
        ("type" in has and bool(has & {"text", "data"})) or ("uri" in has and has <= _RESOURCE),
    )


class _TwiceError(ValueError):
    """A key is there twice, so readers disagree on its value."""


def _each_key_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _TwiceError
    return record
