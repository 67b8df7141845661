"""Dataset declarations: where people's rows are, and which column names the person."""

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from subject_pipeline.errors import DatasetError

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"
"""A dataset's name, as a regular expression."""


def check_dataset_name(name: str) -> str:
    """The name, if a dataset may have it.

    Raises:
        DatasetError: not 1 to 100 letters, digits, `_` and `-`, starting with a letter or digit.
    """
    if not re.fullmatch(NAME, name):
        raise DatasetError(
            f"{name!r} is not a dataset name: use 1 to 100 letters, digits, '_' or '-', starting with a letter or digit"
        )
    return name


class DatasetDeclaration(BaseModel):
    """What `catalog/datasets/<name>.json` holds."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: str = Field(default="subject_dataset.v1", alias="schema")
    name: str
    source: str = Field(min_length=1)
    key_column: str = Field(min_length=1)
    candidate_id_prefix: str = ""
    safe_views: tuple[str, ...] = ()
    link: bool = True

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        return check_dataset_name(name)

    def narrowed(
        self,
        *,
        source: str | None = None,
        key_column: str | None = None,
        candidate_id_prefix: str | None = None,
        safe_views: tuple[str, ...] = (),
    ) -> Self:
        """This declaration with what a call gave; what it did not give stays as declared.

        Raises:
            DatasetError: a key column or a prefix that contradicts the declaration.
        """
        for what, declared, given in (
            ("key column", self.key_column, key_column),
            ("candidate id prefix", self.candidate_id_prefix, candidate_id_prefix),
        ):
            if given is not None and given != declared:
                raise DatasetError(
                    f"dataset {self.name!r} is registered with {what} {declared!r}, but this call says {given!r}; "
                    "leave it out, or register the dataset again if the declaration is wrong"
                )
        return self.model_copy(update={"source": source or self.source, "safe_views": safe_views or self.safe_views})
