"""Hashes of manifests: SHA-256 of a manifest's canonical JSON, as evidence rows and rosters hold them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import polars as pl
import polars_hash as plh

from subject_pipeline.errors import CanonicalJsonError, ManifestError
from subject_pipeline.formats.canonical_json import canonical_json
from subject_pipeline.manifests.frames import MANIFEST_FIELDS, json_ready, to_manifest, usual_documents_of
from subject_pipeline.manifests.manifest import SubjectManifest


def manifest_hash(manifest: SubjectManifest) -> str:
    """SHA-256 of a manifest's canonical JSON, 64 hex digits."""
    return document_hash(manifest.as_json())


def document_hash(document: Mapping[str, Any]) -> str:
    """The hash of the manifest whose JSON this is.

    A newer writer's fields may hold numbers beyond I-JSON's; such a manifest is hashed over its JSON with sorted keys.
    """
    try:
        data = canonical_json(document)
    except CanonicalJsonError:
        data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(data).hexdigest()


def manifest_hashes(rows: pl.DataFrame) -> list[str]:
    """The hash of each row's manifest, built by column; "" is never the hash of a manifest that is there.

    Args:
        rows: `TABLE_SCHEMA`.
    """
    texts = rows.select(
        pl.struct(
            _sorted(name, json_ready(name, pl.col(name)), dtype) for name, dtype in sorted(MANIFEST_FIELDS.items())
        )
        .struct.json_encode()
        .alias("json")
    )
    found: list[str] = texts.select(plh.col("json").chash.sha2_256()).to_series().to_list()
    others = rows["extra"].is_not_null().arg_true()
    for at, document in zip(others, usual_documents_of(rows[others]), strict=True):
        try:
            found[at] = document_hash(document or to_manifest(rows.row(at, named=True)).as_json())
        except (ManifestError, OverflowError, RecursionError, ValueError):
            # Damaged without the registry: no manifest has this hash, so it is found to be changed.
            found[at] = hashlib.sha256(f"{found[at]} {rows['extra'][at]!r}".encode()).hexdigest()
    return found


def _sorted(name: str, value: pl.Expr, dtype: Any) -> pl.Expr:  # noqa: ANN401 - a Polars type or its class
    """A value with the fields of every struct in it in the order of their names."""
    if isinstance(dtype, pl.Struct):
        parts = sorted(dtype.fields, key=lambda part: part.name)
        return pl.struct(_sorted(part.name, value.struct.field(part.name), part.dtype) for part in parts).alias(name)
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        return value.list.eval(_sorted("", pl.element(), dtype.inner)).alias(name)
    return value.alias(name)
