"""The store's layout: where everything is, and the one object that says how many chunks there are."""

import datetime as dt

from pydantic import BaseModel, ConfigDict, Field

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.store.chunks import MAX_CHUNK_COUNT, ChunkLayout

TABLE = "subjects"
"""The folder of the manifests' table."""
AUDIT = "audit/"
AUDIT_INDEX = "audit_index/"
CHECKPOINTS = "checkpoints/"
STAGING = "staging/"
REPORTS = "reports/"
INBOX = "inbox/"
DECISIONS_INBOX = "inbox/decisions/"
DEAD_LETTERS = "dead_letters/"
FINDINGS = "findings/"
"""Lists of what checks found where people must be named: `<run id>/<asset>.parquet`, `<UTC time>-<8 hex>.jsonl`."""
ERASURES = "erasures/"
CATALOG = "catalog/"
DATASETS = "catalog/datasets/"
RECEIPTS = "catalog/ingested/"
PROBES = "catalog/probes/"
"""Where `doctor` tries out what the store can do; nothing there is a part of a store."""
LAYOUT_KEY = "catalog/layout.json"
POLICIES_KEY = "catalog/policies.json"


def note_key(number: int) -> str:
    """Where the signed note of a checkpoint is."""
    return f"{CHECKPOINTS}{number:012d}/note"


def checkpoint_key(number: int, leaf_hash: str) -> str:
    """Where a `checkpoint.json` with this leaf hash is."""
    return f"{CHECKPOINTS}{number:012d}/{leaf_hash}/checkpoint.json"


def leaves_key(state_root: str) -> str:
    """Where the leaves under a state root are."""
    return f"{CHECKPOINTS}leaves/{state_root}"


def roster_key(chunk: str, roster_root: str) -> str:
    """Where a chunk's roster is."""
    return f"{CHECKPOINTS}rosters/{chunk}/{roster_root}"


def findings_key(run_id: str, asset: str) -> str:
    """Where what one asset of one run of Dagster found is listed."""
    return f"{FINDINGS}{run_id}/{asset}.parquet"


class StoreLayout(BaseModel):
    """What `catalog/layout.json` holds: how many chunks there are, and the log's random identity."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)

    schema_: str = Field(default="subject_layout.v1", alias="schema")
    chunk_count: int = Field(ge=1, le=MAX_CHUNK_COUNT)
    log_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    created_at: dt.datetime

    @property
    def chunks(self) -> ChunkLayout:
        """The store's chunks."""
        return ChunkLayout(self.chunk_count)

    def check_wanted(self, wanted: int | None) -> None:
        """Refuse a wanted chunk count that contradicts the store's.

        Raises:
            ConfigurationError: both numbers are named.
        """
        if wanted is not None and wanted != self.chunk_count:
            raise ConfigurationError(
                f"{wanted} chunks are asked for (SUBJECT_CHUNKS), but this store was laid out with "
                f"{self.chunk_count}; the count is fixed when a store is first written: set "
                f"SUBJECT_CHUNKS={self.chunk_count} or use another store"
            )
