"""One store as all later stages see it: its objects and its catalog under one address, and the keys it is kept with."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.objects.location import StoreLocation, refuse_credentials
from subject_pipeline.objects.opening import open_objects
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.catalog import Catalog
from subject_pipeline.store.chunks import DEFAULT_CHUNK_COUNT, ChunkLayout
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.layout import StoreLayout


@dataclass(frozen=True, slots=True)
class SubjectStore:
    """Opened lazily: constructing it contacts and creates nothing, and reads no key.

    Pickled, it is opened again by the process that it goes to, at the same address and with the same ring's file.

    Attributes:
        wanted_chunks: the count that the caller asks for; None: what the layout says.
        ring: the keys of its audit log, checkpoints and certificates; without a file, what needs one says so.
    """

    location: StoreLocation
    objects: ObjectStore
    catalog: Catalog
    wanted_chunks: int | None = None
    ring: KeyRingFile = field(default_factory=lambda: KeyRingFile(None))

    @classmethod
    def at(
        cls,
        url: str,
        *,
        options: Mapping[str, str] | None = None,
        wanted_chunks: int | None = None,
        ring: KeyRingFile | None = None,
    ) -> "SubjectStore":
        """The store at a URL or local path, with the keys that it is kept with.

        Raises:
            ConfigurationError: the URL, the options or the chunk count cannot be used.
        """
        if wanted_chunks is not None:
            ChunkLayout(wanted_chunks)  # refuses what no store can have
        return cls._opened(StoreLocation.parse(url, options), wanted_chunks, ring or KeyRingFile(None))

    @classmethod
    def _opened(cls, location: StoreLocation, wanted_chunks: int | None, ring: KeyRingFile) -> "SubjectStore":
        objects = open_objects(location)
        return cls(location, objects, Catalog(objects), wanted_chunks, ring)

    def __reduce__(self) -> tuple[Any, ...]:
        return SubjectStore._opened, (self.location, self.wanted_chunks, self.ring)

    def with_ring(self, ring: KeyRingFile) -> "SubjectStore":
        """The same store, kept with other keys."""
        return replace(self, ring=ring)

    def without_ring(self) -> "SubjectStore":
        """The same store as someone has it who has no keys."""
        return self.with_ring(KeyRingFile(None))

    def layout(self) -> StoreLayout | None:
        """The store's layout, or None where nothing was ever written that needs one.

        Raises:
            ConfigurationError: another chunk count is wanted.
            StoreError: the store failed, or its layout is gone.
        """
        return self.catalog.layout(self.wanted_chunks)

    def layout_or_create(self) -> StoreLayout:
        """The store's layout, written now if this is its first use; otherwise as `layout`."""
        return self.catalog.layout_or_create(
            self.wanted_chunks, DEFAULT_CHUNK_COUNT, now=lambda: dt.datetime.now(dt.UTC)
        )

    def intended_chunks(self) -> ChunkLayout:
        """The chunks that the store has, or will have once it is written; writes nothing.

        Raises:
            ConfigurationError: another chunk count is wanted than the store has.
            StoreError: the store failed.
        """
        known = self.layout()
        return known.chunks if known else ChunkLayout(self.wanted_chunks or DEFAULT_CHUNK_COUNT)

    def register(self, declaration: DatasetDeclaration) -> None:
        """Record a dataset's declaration; its source is not opened. One of the same name is replaced.

        Does not fix the layout: the first write of subjects or of the audit log decides how many chunks there are.

        Raises:
            ConfigurationError: the source's URL holds credentials, or another chunk count is wanted than the store has.
            StoreError: the store failed.
        """
        refuse_credentials(declaration.source, "the source")
        self.layout()
        self.catalog.register(declaration)

    def check_written(self) -> None:
        """Refuse a store that was never written, which is what a mistyped address looks like; declarations are enough.

        Raises:
            ConfigurationError: nothing is there, or another chunk count is wanted than the store has.
            StoreError: the store failed.
        """
        if self.layout() is None and not self.catalog.written():
            raise ConfigurationError(
                f"no subject store at {self.location.url}; nothing was ever written there: check --store, or "
                "SUBJECT_STORE_URL. A new store begins with `subject-pipeline datasets register`, then `backfill`"
            )
