"""What the parts of the UI share: metadata, and the result of a check that counts what is listed in the store."""

from collections import Counter
from collections.abc import Mapping

import dagster as dg

from subject_pipeline.orchestration.privacy.findings import Places, places_table, where_listed

Value = dg.MetadataValue | int | float | str
Metadata = Mapping[str, Value]
Row = dict[str, str | int]


def check(name: str, count: int, listed: str | None, places: Places | None = None) -> dg.AssetCheckResult:
    """A check's result: how much was found, of which kinds where, and where the store lists it."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not count,
        description=f"{count:,} found" if count else "nothing found",
        metadata=found_metadata(count, listed, places),
    )


def found_metadata(count: int, listed: str | None, places: Places | None = None) -> Metadata:
    """How much was found, by partition and kind if there are any, and where the store lists it."""
    table = {"by_partition": places_table(places)} if places else {}
    return {"found": count, **table, **where_listed(listed if count else None)}


def placed(rows: list[Row]) -> Places:
    """How many rows of each kind there are in each partition."""
    return Counter((str(row["partition"]), str(row["kind"])) for row in rows)
