"""What checks show of people: a count, and the path of a list in the store that a command prints."""

from collections import Counter
from collections.abc import Iterable, Mapping

import dagster as dg

from subject_pipeline.lifecycle.stored_findings import Listed, store_findings
from subject_pipeline.store.opened import SubjectStore

NOTHING_LISTED = "none"
_SHOWN = 500
_COMMAND = "subject-pipeline findings show "

Places = Counter[tuple[str, str]]
"""How many findings there are, by partition and kind."""


def listed_by_step(store: SubjectStore, found: Iterable[Listed]) -> str | None:
    """List what the running step found in the store; the list's key, or None: there is nothing to list.

    Raises:
        StoreError: the store failed.
    """
    context = dg.OpExecutionContext.get()
    return store_findings(store.objects, context.run_id, name_of_step(context), found)


def name_of_step(context: dg.OpExecutionContext) -> str:
    """The asset that a step makes, as people know it; of an op its own name."""
    keys = sorted(key.to_user_string() for key in context.selected_asset_keys) if context.has_assets_def else []
    return keys[0] if keys else context.op.name


def where_listed(path: str | None) -> Mapping[str, str]:
    """The metadata that says where a list is, and the command that prints it."""
    return {"listed": path, "listed_by": _COMMAND + path} if path else {"listed": NOTHING_LISTED}


def printed_by(path: str) -> str:
    """The command that prints a list, as a sentence quotes it."""
    return f"`{_COMMAND}{path}`"


def places_table(places: Places) -> dg.MetadataValue:
    """How many findings of each kind are in each partition, at most 500 rows. Nobody is named."""
    columns = [
        dg.TableColumn("partition", description="The chunk"),
        dg.TableColumn("kind", description="What is wrong"),
        dg.TableColumn("found", type="int"),
    ]
    return dg.MetadataValue.table(
        records=[
            dg.TableRecord({"partition": partition, "kind": kind, "found": count})
            for (partition, kind), count in sorted(places.items())[:_SHOWN]
        ],
        schema=dg.TableSchema(columns=columns),
    )
