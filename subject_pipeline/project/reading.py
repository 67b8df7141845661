"""Reads a project's platform without Dagster, so that the command line works on the store that Dagster works on."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.project.platform import PLATFORM_TYPE, Automation, PlatformSettings
from subject_pipeline.project.templates import FROM_ENVIRONMENT, rendered

_FILES = ("defs.yaml", "defs.yml", "component.yaml")
_SHORT_NAME = PLATFORM_TYPE.rpartition(".")[2]
_TYPES = {PLATFORM_TYPE, f"subject_pipeline.components.subject_platform.{_SHORT_NAME}"}


@dataclass(frozen=True, slots=True)
class Project:
    """A Dagster project whose YAML declares a platform.

    Attributes:
        folder: the project's.
        file: the YAML that declares the platform.
        platform: its settings; paths are located, and store options name their variables.
    """

    folder: Path
    file: Path
    platform: PlatformSettings

    def store_options(self, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The store's options, with the variables' values.

        Raises:
            ConfigurationError: a variable is not set.
        """
        found = {}
        for name, value in self.platform.store_options.items():
            variable = FROM_ENVIRONMENT.fullmatch(value)
            if variable and variable[1] not in environment:
                raise ConfigurationError(f"{self.file}: store_options.{name} needs the variable {variable[1]}")
            found[name] = environment[variable[1]] if variable else value
        return found


def automation_of(project: Project | None) -> Automation:
    """What a project says of how recent things have to be; the defaults where there is none."""
    return project.platform.automation if project else Automation()


def read_project(folder: Path, defs: Path) -> Project | None:
    """The project of a folder, whose definitions are below another; None: its YAML declares no platform.

    Raises:
        ConfigurationError: its YAML cannot be used; the message names file and line.
    """
    declared = [
        (file, node) for file in sorted(defs.rglob("*.y*ml")) if file.name in _FILES for node in _platforms(file)
    ]
    if len(declared) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file, _ in declared)
        raise ConfigurationError(
            f"{len(declared)} YAML documents declare a {PLATFORM_TYPE}: {names}; a project has one"
        )
    if not declared:
        return None
    ((file, node),) = declared
    return Project(folder, file, _settings(file, node).located(folder))


def _platforms(file: Path) -> Iterator[yaml.MappingNode]:
    """The documents of a file that declare a platform; other people's files need not be read."""
    try:
        text = file.read_text(encoding="utf-8")
        if _SHORT_NAME not in text:
            return
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            named = _child(node, "type")
            if isinstance(node, yaml.MappingNode) and named is not None and named.value in _TYPES:
                yield node
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read {file}: {error}") from error


def _settings(file: Path, node: yaml.MappingNode) -> PlatformSettings:
    document = yaml.SafeLoader("")
    try:
        attributes: Any = document.construct_document(node).get("attributes") or {}
    finally:
        document.dispose()

    def wrong(path: Sequence[str | int], words: str) -> ConfigurationError:
        named = ".".join(map(str, ("attributes", *path)))
        return ConfigurationError(f"{file}:{_line(node, ('attributes', *path))}: {named}: {words}")

    def render(template: str, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - what the template gives
        if path[:1] == ("store_options",):
            return template
        if named := FROM_ENVIRONMENT.fullmatch(template):
            return os.environ.get(named[1])
        return _rendered_by_jinja(template, lambda words: wrong(path, words))

    try:
        return PlatformSettings.model_validate(rendered(attributes, render))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise wrong([part for part in first["loc"] if isinstance(part, str | int)], first["msg"]) from None


class _Environment:
    """`env` of Dagster's templates: `env.X`, or `env('X', 'default')`."""

    def __getattr__(self, name: str) -> str | None:
        return os.environ.get(name)

    def __call__(self, name: str, default: object = None) -> object:
        return os.environ.get(name, default)


def _rendered_by_jinja(template: str, wrong: Any) -> Any:  # noqa: ANN401 - what the template gives
    from jinja2 import StrictUndefined, TemplateError  # noqa: PLC0415 - most values need none of it
    from jinja2.nativetypes import NativeEnvironment  # noqa: PLC0415

    try:
        return NativeEnvironment(undefined=StrictUndefined).from_string(template).render(env=_Environment())
    except TemplateError as error:
        raise wrong(f"the command line reads {{{{ env.X }}}} alone, not {template}: {error}") from error


def _child(node: yaml.Node, key: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for name, value in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        found: yaml.Node = node.value[key]
        return found
    return None


def _line(node: yaml.Node, path: Sequence[str | int]) -> int:
    """The line of a value, or of the nearest one around it; counted from 1."""
    for part in path:
        below = _child(node, part)
        if below is None:
            break
        node = below
    return int(node.start_mark.line) + 1
