"""What `dg scaffold defs` writes: YAML that loads as it stands."""

import json
from typing import Any

import dagster as dg
from dagster.components import scaffold_component
from pydantic import BaseModel, Field

_PLATFORM = """\
# What all datasets share; `dg list components` has every attribute with its description. What is not set in the
# environment, or empty there, has its default.
type: {type}

attributes:
  store: {store} # else ./data, below the project's folder
  key_ring: "{{{{ env.SUBJECT_KEY_RING }}}}" # made by `subject-pipeline keys new FILE`; else there is no audit log
  chunks: {chunks} # else 64; fixed by the store's first write

  automation:
    enabled: false # true: sensors and schedules run
    timezone: UTC

requirements:
  env:
{variables}
"""
_DATASET = """\
# Needs a SubjectPlatform in this project.
type: {type}

attributes:
  name: {name}
  source: {source} # a file, folder, glob or URL; a relative path counts from the project's folder
  key_column: {key_column} # integers, strings or UUIDs
  candidate_id_prefix: {candidate_id_prefix} # put before each key; no two datasets may name two people alike
  all: true # every row; or limit: 1000
"""


class PlatformParams(BaseModel):
    """Options of `dg scaffold defs subject_pipeline.components.SubjectPlatform NAME`."""

    store: str | None = Field(default=None, description="Where the store is; else $SUBJECT_STORE_URL, else ./data.")
    chunks: int | None = Field(default=None, ge=1, description="How many chunks; else $SUBJECT_CHUNKS, else 64.")


class DatasetParams(BaseModel):
    """Options of `dg scaffold defs subject_pipeline.components.SubjectDataset NAME`."""

    source: str = Field(description="Parquet file, folder, glob or URL.")
    key_column: str = Field(description="Column that names the person.")
    candidate_id_prefix: str = Field(default="", description="Put before each key to form the candidate id.")


class PlatformScaffolder(dg.Scaffolder[PlatformParams]):
    """Writes a platform whose store, key ring and chunks come from the environment unless they are given."""

    @classmethod
    def get_scaffold_params(cls) -> type[PlatformParams]:
        """The options."""
        return PlatformParams

    def scaffold(self, request: dg.ScaffoldRequest[PlatformParams]) -> None:
        """Write `defs.yaml`."""
        given = {"SUBJECT_STORE_URL": request.params.store, "SUBJECT_CHUNKS": request.params.chunks}
        variables = [name for name in (*given, "SUBJECT_KEY_RING") if given.get(name) is None]
        shown = {name: _template(name) if value is None else _yaml(value) for name, value in given.items()}
        text = _PLATFORM.format(
            type=request.type_name,
            store=shown["SUBJECT_STORE_URL"],
            chunks=shown["SUBJECT_CHUNKS"],
            variables="\n".join(f"    - {name}" for name in variables),
        )
        _write(request, text)


class DatasetScaffolder(dg.Scaffolder[DatasetParams]):
    """Writes a dataset that has the name of its folder."""

    @classmethod
    def get_scaffold_params(cls) -> type[DatasetParams]:
        """The options."""
        return DatasetParams

    def scaffold(self, request: dg.ScaffoldRequest[DatasetParams]) -> None:
        """Write `defs.yaml`."""
        params = {name: _yaml(value) for name, value in request.params.model_dump().items()}
        folder = request.target_path.parent if request.append else request.target_path
        _write(request, _DATASET.format(type=request.type_name, name=_yaml(folder.name), **params))


def _template(variable: str) -> str:
    return f'"{{{{ env.{variable} }}}}"'


def _yaml(value: str | int) -> str:
    """A value as YAML has it, on one line; YAML reads JSON's texts and numbers."""
    plain = isinstance(value, int) or (value.isascii() and value.replace("_", "").isalpha())
    return str(value) if plain and str(value).lower() not in _WORDS else json.dumps(value)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""What YAML takes for something else than a text."""


def _write(request: dg.ScaffoldRequest[Any], text: str) -> None:
    if request.scaffold_format == "python":
        scaffold_component(request)
    elif request.append:
        with request.target_path.open("a", encoding="utf-8") as file:
            file.write(f"---\n{text}")
    else:
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")
