"""Manifests as rows of the table: its schema, new rows built by column, and rows turned into manifests and back."""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from subject_pipeline.candidates.columns import chunk_name_expr
from subject_pipeline.errors import ManifestError
from subject_pipeline.formats.times import COLUMN_FORMAT, format_time, is_moment
from subject_pipeline.manifests.manifest import DatasetReference, SubjectManifest, audit_log_path, new_manifest
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import storage_key

_TIME = pl.Datetime("us", "UTC")
_DATASET = pl.Struct({"name": pl.String, "key_column": pl.String, "key_value": pl.String})

MANIFEST_FIELDS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "schema": pl.String,
    "candidate_id": pl.String,
    "created_at": _TIME,
    "updated_at": _TIME,
    "status": pl.String,
    "vertical": pl.String,
    "consent": pl.Struct(
        {
            "general_pii": pl.Struct(
                {"status": pl.String, "version": pl.String, "given_at": _TIME, "withdrawn_at": _TIME}
            ),
            "biometric": pl.Struct({"status": pl.String, "retention_until": _TIME}),
        }
    ),
    "retention": pl.Struct({"general_pii_until": _TIME, "policy": pl.String}),
    "datasets": pl.List(_DATASET),
    "safe_views": pl.List(pl.String),
    "audit_log_path": pl.String,
    "audit_log_chain_root": pl.String,
}
"""The manifest's fields in the order of its JSON."""

TABLE_SCHEMA = pl.Schema({"chunk": pl.String, "storage_key": pl.String, **MANIFEST_FIELDS, "extra": pl.String})
"""One subject a row. `extra` is JSON text of fields that decisions or a newer writer added; null: there are none."""

_CONSENT, _RETENTION = pl.col("consent").struct, pl.col("retention").struct
_REQUIRED = (
    *(pl.col(name) for name in MANIFEST_FIELDS if name not in {"consent", "retention"}),
    _CONSENT.field("general_pii").struct.field("status"),
    _CONSENT.field("biometric").struct.field("status"),
    _RETENTION.field("general_pii_until"),
    _RETENTION.field("policy"),
)
"""What no manifest is without."""

_IS_WHOLE = pl.all_horizontal(part.is_not_null() for part in _REQUIRED)
IS_PLAIN = pl.col("extra").is_null() & _IS_WHOLE
"""Of a row of the table: it is a manifest, and its columns hold all of it."""

_TIMES = ("restricted_at", "erasure_ordered_at")
"""Fields that decisions add which are one time each, in the order of a manifest's JSON: they need no manifest made."""


def new_rows(
    candidates: pl.DataFrame,
    *,
    layout: ChunkLayout,
    dataset: str,
    key_column: str,
    safe_views: Sequence[str],
    now: dt.datetime,
) -> pl.DataFrame:
    """Rows of candidates seen for the first time, built by column.

    What is the same for all is taken from one `new_manifest`, so that the defaults are in one place.

    Args:
        candidates: `CANDIDATE_SCHEMA`.
        layout: the store's chunks.
        dataset: the dataset's name.
        key_column: its key column.
        safe_views: names of views that are safe to show.
        now: one time for the whole run.

    Returns:
        `TABLE_SCHEMA`, in the order of `candidates`.
    """
    reference = DatasetReference(name=dataset, key_column=key_column, key_value="")
    template = new_manifest(
        candidate_id="-", dataset=reference, safe_views=tuple(safe_views), chunk="", now=now
    ).model_dump(by_alias=True)
    varying = {"candidate_id", "datasets", "audit_log_path"}
    same = {
        name: pl.lit(pl.Series([template[name]], dtype=dtype)).first().alias(name)
        for name, dtype in MANIFEST_FIELDS.items()
        if name not in varying
    }
    fields = {
        **same,
        "candidate_id": pl.col("candidate_id"),
        "datasets": pl.concat_list(
            pl.struct(pl.lit(dataset).alias("name"), pl.lit(key_column).alias("key_column"), "key_value")
        ),
        "audit_log_path": pl.lit(audit_log_path("")) + pl.col("chunk"),
    }
    return candidates.with_columns(chunk=chunk_name_expr(layout, "chunk_index")).select(
        "chunk",
        "storage_key",
        *(fields[name].alias(name) for name in MANIFEST_FIELDS),
        extra=pl.lit(None, pl.String),
    )


def to_rows(manifests: Iterable[SubjectManifest], layout: ChunkLayout) -> pl.DataFrame:
    """Rows of manifests, in their order.

    Returns:
        `TABLE_SCHEMA`.
    """
    rows = []
    for manifest in manifests:
        known, extra = _split(manifest.model_dump(by_alias=True), MANIFEST_FIELDS)
        key = storage_key(manifest.candidate_id)
        text = json.dumps(extra, ensure_ascii=False, separators=(",", ":"), default=format_time) if extra else None
        rows.append({"chunk": layout.chunk_of(key), "storage_key": key, **known, "extra": text})
    return pl.DataFrame(rows, schema=TABLE_SCHEMA)


def to_manifest(row: Mapping[str, Any]) -> SubjectManifest:
    """The manifest that a row of the table holds.

    Raises:
        ManifestError: the row is not a manifest.
    """
    value = {name: row[name] for name in MANIFEST_FIELDS}
    if row["extra"] is None:
        return SubjectManifest.parse(value)
    try:
        joined = _join(value, json.loads(row["extra"]))
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestError(f"the extra fields of {row['candidate_id']!r} are damaged: {error}") from error
    return SubjectManifest.parse(joined)


def to_json_lines(rows: pl.DataFrame) -> list[str]:
    """The JSON of each row's manifest, as `SubjectManifest.to_json` writes it, built by column.

    Args:
        rows: `TABLE_SCHEMA`.
    """
    texts = rows.select(pl.struct(json_ready(name, pl.col(name)) for name in MANIFEST_FIELDS).struct.json_encode())
    lines: list[str] = texts.to_series().to_list()
    # Rare: fields that only a newer writer knows must be put back at their depth.
    for at in rows["extra"].is_not_null().arg_true():
        lines[at] = to_manifest(rows.row(at, named=True)).to_json()
    return lines


def to_documents(rows: pl.DataFrame) -> dict[str, dict[str, Any] | ManifestError]:
    """The JSON of each row's manifest, by candidate id; an error in the place of one that is not a manifest.

    Args:
        rows: `TABLE_SCHEMA`, distinct by candidate id.
    """
    found: dict[str, dict[str, Any] | ManifestError] = {}
    for at, (candidate_id, document) in enumerate(zip(rows["candidate_id"], usual_documents_of(rows), strict=True)):
        try:
            found[candidate_id] = to_manifest(rows.row(at, named=True)).as_json() if document is None else document
        except ManifestError as error:
            found[candidate_id] = error
    return found


def usual_documents_of(rows: pl.DataFrame) -> list[dict[str, Any] | None]:
    """The JSON of each row's manifest, built by column; None where that takes a manifest to be made.

    Args:
        rows: `TABLE_SCHEMA`.
    """
    whole = rows.select(_IS_WHOLE).to_series()
    times = [_times_of(text) if is_whole else None for is_whole, text in zip(whole, rows["extra"], strict=True)]
    lines = to_json_lines(rows.with_columns(extra=pl.lit(None, pl.String)))
    return [
        None if added is None else {**orjson.loads(line), **added} for line, added in zip(lines, times, strict=True)
    ]


def _times_of(extra: str | None) -> dict[str, str] | None:
    """The fields that `extra` holds, where they are times alone; else None."""
    try:
        found = orjson.loads("{}" if extra is None else extra)
    except orjson.JSONDecodeError:
        return None
    return times_among(found) if isinstance(found, dict) else None


def times_among(fields: Mapping[str, Any]) -> dict[str, str] | None:
    """Further fields of a manifest in their order, where they are times alone that decisions add; else None."""
    found = {name: fields[name] for name in _TIMES if name in fields and is_moment(fields[name])}
    return found if len(found) == len(fields) else None


def json_ready(name: str, value: pl.Expr, dtype: Any = None) -> pl.Expr:  # noqa: ANN401 - a Polars type or its class
    """A column of the table as its JSON has it: times as text."""
    dtype = MANIFEST_FIELDS[name] if dtype is None else dtype
    if dtype == _TIME:
        return value.dt.to_string(COLUMN_FORMAT).alias(name)
    if isinstance(dtype, pl.Struct):
        parts = [json_ready(part.name, value.struct.field(part.name), part.dtype) for part in dtype.fields]
        return pl.struct(parts).alias(name)
    return value.alias(name)


def _split(value: Mapping[str, Any], fields: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide a manifest's values into those that the table has columns for and the rest, at every depth."""
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, item in value.items():
        if name not in fields:
            extra[name] = item
            continue
        dtype = fields[name]
        if isinstance(dtype, pl.Struct):
            known[name], rest = _split(item, dict(dtype))
            if rest:
                extra[name] = rest
        elif dtype == MANIFEST_FIELDS["datasets"]:
            parts = [_split(entry, dict(_DATASET)) for entry in item]
            known[name] = [part for part, _ in parts]
            if any(rest for _, rest in parts):
                extra[name] = [rest for _, rest in parts]
        else:
            known[name] = item
    return known, extra


def _join(known: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `_split`: unknown fields come last, at the depth that they were at."""
    joined = dict(known)
    for name, item in extra.items():
        if name not in joined:
            joined[name] = item
        elif isinstance(item, list):
            joined[name] = [_join(entry, rest) for entry, rest in zip(joined[name], item, strict=True)]
        else:
            joined[name] = _join(joined[name], item)
    return joined
