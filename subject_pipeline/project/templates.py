"""Values that come from the environment: `{{ env.X }}` in a project's YAML."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from subject_pipeline.formats.shown_text import without_credentials

FROM_ENVIRONMENT = re.compile(r"\{\{\s*env\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
"""A whole value that one variable gives."""

IS_TEMPLATE = r"\{\{.*\}\}"
_SECRET = re.compile(r"secret|key|token|passw|credential|sas|connection_string", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Secret:
    """Marks an attribute whose value must come from the environment, since the file is no place for it."""


def is_secret(name: str, value: str) -> bool:
    """Whether an option of a store holds a secret: by its name, or since its value is a URL with credentials."""
    return bool(value) and (bool(_SECRET.search(name)) or without_credentials(value) != value)


def rendered(
    value: Any,  # noqa: ANN401 - whatever YAML holds
    render: Callable[[str, tuple[str | int, ...]], Any],
    path: tuple[str | int, ...] = (),
) -> Any:  # noqa: ANN401 - whatever the template gives
    """A value of YAML with its templates replaced; what a template leaves empty is left out, so its default holds.

    Args:
        value: a mapping, a list, or a plain value.
        render: makes a value of a template, given where it stands.
        path: where the value stands.
    """
    if isinstance(value, Mapping):
        items = {name: rendered(one, render, (*path, name)) for name, one in value.items()}
        return {name: one for name, one in items.items() if not _is_unset(value[name], one)}
    if isinstance(value, list | tuple):
        return [rendered(one, render, (*path, place)) for place, one in enumerate(value)]
    return render(value, path) if _is_template(value) else value


def _is_template(value: object) -> bool:
    return isinstance(value, str) and re.search(IS_TEMPLATE, value) is not None


def _is_unset(written: object, value: object) -> bool:
    return _is_template(written) and (value is None or (isinstance(value, str) and not value.strip()))
