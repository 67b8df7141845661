"""Linking against a model: whatever the datasets, a manifest refers to each that named its person while it could."""

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subject_pipeline.decisions.links import DatasetLink
from subject_pipeline.manifests.frames import to_documents, to_rows
from subject_pipeline.registry.backfill import backfill
from subject_pipeline.store.datasets import DatasetDeclaration
from subject_pipeline.store.ids import storage_key
from subject_pipeline_tests.helpers.audit_stores import LAYOUT, manifest, place_in
from subject_pipeline_tests.helpers.recorded import plug_pulled, replay, table_of

_VIEWS = st.lists(st.sampled_from("abc"), max_size=3)
_STEPS = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["workers", "drivers", "pilots"]),
            "keys": st.lists(st.sampled_from(["1", "2", "-1", "P-1", "P-2", "é/1", "é_1"]), min_size=1, max_size=6),
            "prefix": st.sampled_from(["", "P", "P-"]),
            "views": _VIEWS,
            "link": st.sampled_from([True, True, True, False]),
            "killed": st.booleans(),
        }
    ),
    min_size=2,
    max_size=5,
)


@pytest.mark.long
@settings(max_examples=settings().max_examples * 15 // 100)
@given(steps=_STEPS)
def test_manifests_refer_to_what_named_them(steps: list[dict[str, Any]]) -> None:
    """Over random datasets, kills between log and table included, references, views and counts are the model's."""
    with tempfile.TemporaryDirectory() as folder:
        place = place_in(Path(folder))
        model: dict[str, tuple[list[tuple[str, str]], list[str]]] = {}
        first: dict[str, dict[str, Any]] = {}
        for step in steps:
            source = Path(folder, f"{step['name']}.parquet")
            pl.DataFrame({"k": step["keys"]}).write_parquet(source)
            dataset = DatasetDeclaration(
                name=step["name"],
                source=str(source),
                key_column="k",
                candidate_id_prefix=step["prefix"],
                safe_views=tuple(step["views"]),
                link=step["link"],
            )
            keys: dict[str, str] = {}
            owners = {storage_key(one): one for one in model}
            for key in step["keys"]:
                one = step["prefix"] + key
                if owners.setdefault(storage_key(one), one) == one:
                    keys.setdefault(one, key)
            lacking = [one for one in keys if one in model and all(name != dataset.name for name, _ in model[one][0])]
            new = [one for one in keys if one not in model]
            if step["killed"]:
                with plug_pulled():
                    backfill(place.store, dataset, evidence=place.evidence())
            counts = backfill(place.store, dataset, evidence=place.evidence()).counts

            linked = lacking if dataset.link else []
            assert (counts.inserted, counts.skipped) == (len(new), len(keys) - len(new))
            # A run that was killed while it inserted recorded no link yet; what others recorded is not counted again.
            assert counts.linked == (0 if step["killed"] and not new else len(linked))
            for one in [*linked, *new]:
                references, views = model.setdefault(one, ([], []))
                references.append((dataset.name, keys[one]))
                added = dict.fromkeys(step["views"]) if one in linked else step["views"]
                views += [view for view in added if one in new or view not in views]
            table = table_of(place.store)
            first |= {one: table[one] for one in new}
            assert {
                one: ([(there["name"], there["key_value"]) for there in that["datasets"]], that["safe_views"])
                for one, that in table.items()
            } == model
            assert replay(place.objects, first) == table


@given(
    there=st.lists(st.sampled_from(["x", "y"]), max_size=2),
    views=_VIEWS,
    added=_VIEWS,
    status=st.sampled_from(["active", "restricted", "erasure_ordered", "of_a_newer_writer"]),
    key=st.text(max_size=5),
)
def test_by_column_and_by_document_alike(
    there: list[str], views: list[str], added: list[str], status: str, key: str
) -> None:
    """Both ways of linking leave the same manifest."""
    references = [{"name": name, "key_column": "k", "key_value": "1"} for name in there]
    before = manifest("W-1", datasets=references, safe_views=views, status=status)
    link = DatasetLink("drivers", "id", tuple(added))
    later = before.updated_at.replace(year=2030)
    rows = to_rows([before], LAYOUT).with_columns(key_value=pl.lit(key))

    by_column = to_documents(link.rows(rows, pl.lit(later)))["W-1"]

    assert by_column == link.document(before.as_json(), key, later)
    assert link.is_in(link.document(before.as_json(), key, later))
    assert not link.is_in(before.as_json())
