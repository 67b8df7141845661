"""What both components share: their schema, and errors that name the file and the line of a wrong value."""

from typing import Annotated, Any, Self

import dagster as dg
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from subject_pipeline.project.templates import FROM_ENVIRONMENT, IS_TEMPLATE, Secret, rendered

_Template = Annotated[str, Field(pattern=IS_TEMPLATE)]
_schemas: dict[type[BaseModel], type[BaseModel]] = {}


class Declared(dg.Component, dg.Resolvable):
    """A component whose attributes are those of a pydantic model that it inherits as well.

    Dagster's own derivation lets any text stand for a number, since a template may; here only a template may, so that
    `dg check yaml` finds a wrong value, and the line of any error is named.
    """

    @classmethod
    def model(cls) -> type[BaseModel]:
        """The schema of the YAML: each attribute as declared, or a template."""
        attributes = next(base for base in cls.__mro__[1:] if issubclass(base, BaseModel))
        return _schema(attributes)

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """The component of attributes whose templates are replaced; what a template leaves empty has its default.

        Raises:
            ResolutionException: a value cannot be used; the message names file and line.
        """

        def at(path: tuple[str | int, ...]) -> dg.ResolutionContext:
            place = context
            for part in path:
                place = place.at_path(part)
            return place

        def render(template: str, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - what the template gives
            keeps_name = path[:1] == ("store_options",) and FROM_ENVIRONMENT.fullmatch(template)
            return template if keeps_name else at(path).resolve_value(template)

        values: dict[str, Any] = rendered(model.model_dump(exclude_unset=True), render)
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            path = tuple(part for part in first["loc"] if isinstance(part, str | int))
            words = f"{'.'.join(map(str, path)) or 'attributes'}: {first['msg']}"
            raise at(path).build_resolve_fn_exc([words], str(path[0]) if path else "attributes", model) from None


class DeclaresSubjects(Declared):
    """A component that gives people manifests."""

    @property
    def manifests(self) -> dg.AssetKey:
        """The asset that has one manifest per person, partitioned by chunk."""
        raise NotImplementedError


def _schema(attributes: type[BaseModel]) -> type[BaseModel]:
    if attributes not in _schemas:
        fields: dict[str, Any] = {name: _field(field) for name, field in attributes.model_fields.items()}
        _schemas[attributes] = create_model(
            f"{attributes.__name__}Model", __base__=dg.Model, __doc__=attributes.__doc__, **fields
        )
    return _schemas[attributes]


def _field(field: FieldInfo) -> tuple[Any, FieldInfo]:
    """An attribute as the YAML may have it: its own type, or a template; a secret is a template alone."""
    own: Any = field.rebuild_annotation()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        own = _schema(field.annotation)
    if any(isinstance(mark, Secret) for mark in _marks(own)):
        own = _Template | None
    shown: Any = Field(
        default=... if field.is_required() else _plain(field.default),
        description=field.description,
        examples=field.examples,
        repr=field.repr,
    )
    return own if own is str else own | _Template, shown


def _marks(annotation: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any annotation
    """The marks of an annotation and of what it is made of."""
    marks = tuple(getattr(annotation, "__metadata__", ()))
    for part in getattr(annotation, "__args__", ()):
        marks += _marks(part)
    return marks


def _plain(default: object) -> object:
    """A default as a schema can show it; of others the description speaks."""
    return default if isinstance(default, str | int | float | bool) else None
