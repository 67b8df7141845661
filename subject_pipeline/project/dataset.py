"""The attributes of `SubjectDataset`: one dataset of people."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.objects.location import refuse_credentials
from subject_pipeline.project.platform import located
from subject_pipeline.registry.backfill import DEFAULT_LIMIT
from subject_pipeline.store.datasets import NAME, DatasetDeclaration

DATASET_TYPE = "subject_pipeline.components.SubjectDataset"


class QualityCheck(StrEnum):
    """What is looked at of a source before it is staged."""

    no_null_keys = "no_null_keys"
    repeated_keys_within_share = "repeated_keys_within_share"
    source_did_not_shrink = "source_did_not_shrink"
    key_type_unchanged = "key_type_unchanged"


def _credential_free(source: str) -> str:
    try:
        refuse_credentials(source, "the source")
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return source


class DatasetAttributes(BaseModel):
    """The attributes; a value may be `{{ env.X }}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=f"^{NAME}$",
        description="The dataset's name; also the group and the prefix of its assets' keys: 1 to 100 letters, digits, "
        "'_' or '-', starting with a letter or digit.",
        examples=["workers"],
    )
    source: Annotated[str, AfterValidator(_credential_free)] = Field(
        min_length=1,
        description="Parquet file, folder, glob or URL. A relative path counts from the project's folder.",
        examples=["s3://bucket/workers/*.parquet", "sample_data/workers.parquet"],
    )
    key_column: str = Field(
        min_length=1,
        description="Column that names the person: integers, strings or UUIDs.",
        examples=["worker_id"],
    )
    candidate_id_prefix: str = Field(
        default="", description="Put before each key to form the candidate id.", examples=["WORKER-"]
    )
    safe_views: list[str] = Field(
        default_factory=list, description="Names of views that are safe to show.", examples=[["workers_public"]]
    )
    limit: int = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        description="Rows that a run reads unless the launch says otherwise.",
        examples=[1000],
    )
    all: bool = Field(default=False, description="Read every row unless the launch says otherwise.", examples=[True])
    partitions_per_run: int | None = Field(
        default=None,
        ge=1,
        description="Split a backfill into runs of so many partitions, where a launcher spreads runs over machines. "
        "Default: as the platform says.",
        examples=[16],
    )
    link: bool = Field(
        default=True,
        description="Give people who have a manifest already a reference to this dataset, and its safe views.",
        examples=[True],
    )
    vanished_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The check source_reconciled is an error once more than this share of the dataset's subjects are "
        "gone from its source; it warns of any.",
        examples=[0.1],
    )
    dropped_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="The check source_did_not_shrink is red once the source has lost more than this share of the rows "
        "that it had when it was last staged.",
        examples=[0.1],
    )
    repeated_share: float = Field(
        default=1,
        ge=0,
        le=1,
        description="The check repeated_keys_within_share is red once more than this share of the rows repeat the key "
        "of an earlier one. Such rows are skipped, so by default any number may.",
        examples=[0],
    )
    blocking: list[QualityCheck] = Field(
        default_factory=list,
        description="Which of the checks of the source are errors and stop a run before anything is staged; the others "
        "warn.",
        examples=[["repeated_keys_within_share", "source_did_not_shrink", "key_type_unchanged"]],
    )
    owners: list[str] = Field(
        default_factory=list, description="E-mail addresses, or team:name.", examples=[["team:data"]]
    )

    @property
    def python_name(self) -> str:
        """The name, in letters, digits and `_` alone, as Dagster's own names must be."""
        return re.sub(r"[^A-Za-z0-9_]", "_", self.name)

    def declaration(self, folder: Path) -> DatasetDeclaration:
        """What is kept in the store's catalog; a relative source counts from the project's folder."""
        return DatasetDeclaration(
            name=self.name,
            source=located(self.source, folder),
            key_column=self.key_column,
            candidate_id_prefix=self.candidate_id_prefix,
            safe_views=tuple(self.safe_views),
            link=self.link,
        )
