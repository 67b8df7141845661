"""Dagster resources: the store that manifests live in, and how its subjects are split into partitions."""

import functools
import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field, create_model

from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.orchestration.privacy.literal_secrets import refuse_literal_secrets
from subject_pipeline.project.platform import PlatformSettings
from subject_pipeline.project.templates import FROM_ENVIRONMENT
from subject_pipeline.registry.backfill import DEFAULT_LIMIT
from subject_pipeline.settings import Settings, system_user
from subject_pipeline.store.chunks import DEFAULT_CHUNK_COUNT, ChunkLayout
from subject_pipeline.store.opened import SubjectStore


class LayoutResource(dg.ConfigurableResource[Any]):
    """How many chunks the subject space has; each is a partition."""

    chunk_count: int = Field(
        default=DEFAULT_CHUNK_COUNT,
        ge=1,
        description="Must be what the store was laid out with. Set the platform's `chunks` rather than this field, "
        "since the partitions that Dagster shows come from there.",
    )

    @classmethod
    def of(cls, platform: PlatformSettings) -> "LayoutResource":
        """A platform's; 64 chunks where it does not say."""
        return cls(chunk_count=platform.chunks or DEFAULT_CHUNK_COUNT)

    def partitions(self) -> dg.StaticPartitionsDefinition:
        """One partition a chunk, in the chunks' order."""
        return _partitions(self.chunk_count)


@functools.cache
def _partitions(chunk_count: int) -> dg.StaticPartitionsDefinition:
    # Made once, not for each of many datasets: checking 1,024 names takes Dagster as long as all else of a dataset.
    return dg.StaticPartitionsDefinition(ChunkLayout(chunk_count).names)


class StoreResource(dg.ConfigurableResource[Any]):
    """The object store that holds manifests, catalog and staging."""

    url: str = Field(description="file:///folder, s3://bucket/prefix, gs://..., az://..., or a local path.")
    options: dict[str, str] = Field(
        default_factory=dict,
        description="Credentials and endpoint, where the provider's standard environment does not give them. A secret "
        "is given by the name of a variable, as {env: NAME}; its value in run config is refused.",
    )
    layout: LayoutResource

    @classmethod
    def of(cls, platform: PlatformSettings, layout: LayoutResource) -> "StoreResource":
        """A platform's; an option that a variable gives is shown by the variable's name."""
        options = {
            name: dg.EnvVar(found[1]) if (found := FROM_ENVIRONMENT.fullmatch(value)) else value
            for name, value in platform.store_options.items()
        }
        return cls(url=platform.store, options=options, layout=layout)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse secrets in the run's config.

        Raises:
            ConfigurationError: one does.
        """
        if context.run is not None:
            refuse_literal_secrets({"url": self.url, **self.options}, context.run.run_config)

    def open(self, key_ring: "KeyRingResource | None" = None) -> SubjectStore:
        """The store, with the key ring where its keys are needed; nothing is contacted before the first use.

        Raises:
            ConfigurationError: the URL or the options cannot be used.
        """
        ring = key_ring.file() if key_ring else None
        return SubjectStore.at(self.url, options=self.options, wanted_chunks=self.layout.chunk_count, ring=ring)


class KeyRingResource(dg.ConfigurableResource[Any]):
    """The key ring with which the audit log is written, verified and signed."""

    path: str | None = Field(
        default=None,
        description="The ring's file on this machine, mode 600; made by `subject-pipeline keys new`. Without one, "
        "everything that uses the audit log fails and says so.",
    )

    def file(self) -> KeyRingFile:
        """The ring; not opened before its first use."""
        return KeyRingFile(Path(self.path).expanduser() if self.path else None)


def actor() -> str:
    """Who is named in audit rows: `$SUBJECT_ACTOR`, else the system user."""
    return Settings.read(os.environ).actor or system_user()


class RegistrationOptions(dg.ConfigurableResource[Any]):
    """What one run of a dataset takes: shared by its candidate_chunks and its subject_manifests."""

    limit: int = Field(
        default=DEFAULT_LIMIT,
        ge=1,
        description="Read at most this many source rows. Ignored where all is true.",
    )
    all: bool = Field(default=False, description="Read every source row.")
    dry_run: bool = Field(
        default=False,
        description="Parse and count the candidates and say what a run would do; write nothing, record no "
        "materialization.",
    )

    @classmethod
    def with_defaults(cls, *, limit: int, every_row: bool) -> "RegistrationOptions":
        """Options whose defaults are a dataset's own, so that a launch which sets one of them keeps the others.

        (A resource's configured values would not work: Dagster drops all of them once a launch gives any.)
        """
        fields = cls.model_fields
        own: Any = {
            "limit": (int, Field(default=limit, ge=1, description=fields["limit"].description)),
            "all": (bool, Field(default=every_row, description=fields["all"].description)),
        }
        return create_model(cls.__name__, __base__=cls, __module__=__name__, __doc__=cls.__doc__, **own)()

    @property
    def rows(self) -> int | None:
        """The limit; None: every row."""
        return None if self.all else self.limit
