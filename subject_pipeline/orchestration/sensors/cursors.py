"""What a sensor keeps between ticks, as JSON in Dagster's cursor."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError


class Cursor(BaseModel):
    """A cursor of one version of this program."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @classmethod
    def read(cls, text: str | None) -> Self:
        """The cursor; one that is damaged, or of another version of this program, counts as none."""
        try:
            return cls.model_validate_json(text) if text else cls()
        except ValidationError:
            return cls()

    def write(self) -> str:
        """As Dagster keeps it."""
        return self.model_dump_json(by_alias=True)
