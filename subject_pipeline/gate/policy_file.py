"""Reading a policy file: what is wrong is named with the file, the line and the key."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import ValidationError

from subject_pipeline.errors import PolicyError
from subject_pipeline.formats.shown_text import shown
from subject_pipeline.gate.policy import GatePolicy

_LIMIT = 1 << 20


class ReadPolicy(NamedTuple):
    """A policy, and the SHA-256 of the file's bytes, which every row of the gate has: `sha256sum` gives the same."""

    policy: GatePolicy
    sha256: str


def read_policy(path: str | Path) -> ReadPolicy:
    """The policy that a file holds.

    Raises:
        PolicyError: it cannot be read, or says something that no policy can say.
    """
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(_LIMIT + 1)
        text = data.decode()
    except OSError as error:
        raise PolicyError(f"cannot read the gate's policy from {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"cannot read the gate's policy from {path}: it is not UTF-8") from error
    if len(data) > _LIMIT:
        raise PolicyError(f"cannot read the gate's policy from {path}: it is larger than {_LIMIT:,} bytes")
    return ReadPolicy(_parsed(text, str(path)), hashlib.sha256(data).hexdigest())


def _parsed(text: str, path: str) -> GatePolicy:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = path if mark is None else f"{path}:{mark.line + 1}"
        raise PolicyError(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    for key in _repeated(root):
        raise PolicyError(f"{path}:{key.start_mark.line + 1}: {shown(str(key.value))!r} is there twice")
    try:
        return GatePolicy.model_validate({} if value is None else value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = [part for part in first["loc"] if part != "[key]"]
        line = _line(root, place)
        said = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        where = shown(".".join(map(str, place))) or "the file"
        raise PolicyError(f"{path}:{line}: {where}: {said[:1].lower()}{said[1:]}") from error


def _repeated(node: yaml.Node | None) -> Iterator[yaml.Node]:
    """Keys that are twice in one mapping, of which YAML would silently take the last."""
    waiting, looked_at = [node], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in looked_at:
            continue
        looked_at.add(id(one))
        if isinstance(one, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in one.value:
                if str(key.value) in seen:
                    yield key
                seen.add(str(key.value))
                waiting.append(value)
        elif isinstance(one, yaml.SequenceNode):
            waiting.extend(one.value)


def _line(root: yaml.Node | None, place: list[int | str]) -> int:
    """The line, from 1, of the innermost part of a place that the file has; a key's line is that of its name."""
    found, node = root, root
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((key, value) for key, value in node.value if str(key.value) == str(part)), None)
            if pair is None:
                break
            found, node = pair
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node = node.value[part]
        else:
            break
    return 1 if found is None else found.start_mark.line + 1
