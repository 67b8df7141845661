"""Values of a tool's answer: what an object holds, its JSON, and a copy that nobody else can change."""

import copy
import dataclasses
import datetime as dt
import ipaddress
import numbers
import sys
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

SCALARS = frozenset({str, int, float, bool, type(None)})
JSON = frozenset({dict, list, tuple})
VALUES = (
    *(str, type(None), numbers.Number, dt.date, dt.time, dt.timedelta, dt.tzinfo, uuid.UUID, Enum, PurePath, range),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address),
)
"""What names nobody by itself."""
NO_SEQUENCES = (*VALUES, bytes, bytearray, memoryview)
"""Though Python says so of some."""


def opened(value: object) -> object:
    """An object with fields as a mapping of them, any other value as it is."""
    kind: Any = type(value)
    if kind in JSON or isinstance(value, Mapping | str):
        return value
    if is_model(value):
        return dump(value)
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(kind)}
    if hasattr(kind, "__attrs_attrs__"):
        return {attribute.name: getattr(value, attribute.name) for attribute in kind.__attrs_attrs__}
    if isinstance(value, Sequence) and hasattr(value, "_asdict"):
        return value._asdict()
    return value


def is_model(value: object) -> bool:
    """Whether it is a pydantic model; if pydantic is not loaded nothing is one, and it is not loaded for this."""
    pydantic = sys.modules.get("pydantic.main")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def dump(model: Any, *, by_alias: bool = False) -> object:  # noqa: ANN401 - its class may not be imported here
    """The fields of a pydantic model, by one of their names."""
    # As any: else what a subclass adds to the declared type is left out. Warnings would quote the answer.
    return model.model_dump(by_alias=by_alias, serialize_as_any=True, warnings=False)


def as_json(answer: object) -> object:
    """An answer with its objects as dicts of their fields, and mappings and sequences as dicts and lists.

    What JSON has no type for stays as it is, even a set, since it has no order.

    Raises:
        RecursionError: the answer is nested too deeply, or contains itself.
    """
    if type(answer) in SCALARS:
        return answer
    inner = opened(answer)
    if isinstance(inner, Mapping):
        return {key: as_json(value) for key, value in inner.items()}
    if isinstance(inner, Sequence) and not isinstance(inner, NO_SEQUENCES):
        return [as_json(item) for item in inner]
    return inner


def copied(answer: Any) -> Any:  # noqa: ANN401 - of the same types
    """A copy of an answer: what others do to theirs while it is judged does not change what is released.

    What cannot be copied, and cannot be examined either, such as a generator, is left as it is.

    Raises:
        TypeError: something that can be examined cannot be copied.
        RecursionError: the answer is nested too deeply.
    """
    return _copied(answer, {})


def _copied(value: Any, seen: dict[int, Any]) -> Any:  # noqa: ANN401 - of the same types
    kind = type(value)
    if kind in SCALARS or isinstance(value, VALUES):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if kind is dict or kind is MappingProxyType:
        made = seen[id(value)] = {}
        made.update((key, _copied(item, seen)) for key, item in value.items())
        return made if kind is dict else MappingProxyType(made)
    if kind is list or kind is tuple:
        items = seen[id(value)] = []
        items.extend(_copied(item, seen) for item in value)
        return items if kind is list else tuple(items)
    try:
        return value if _is_opaque(value) else copy.deepcopy(value)
    except Exception as error:
        # Its own message may quote the answer.
        raise TypeError(f"an answer's {kind.__name__} cannot be copied") from error


def _is_opaque(value: object) -> bool:
    return not isinstance(opened(value), Mapping | Sequence | AbstractSet) or isinstance(value, bytes | memoryview)
