"""Usual documents: manifests in the form of an export, read by column in a fraction of the time of one by one.

A document is usual if what was read from it makes its JSON again, apart from white space: exactly the fields of the
table, in their order, each of its type. Its times have the form of the store, and its words are in the vocabulary.
Anything else is for `SubjectManifest.parse` to take or to refuse; a property test compares the two.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any

import msgspec
import orjson
import polars as pl
import pyarrow as pa

from subject_pipeline.candidates.columns import chunk_index_expr, chunk_name_expr, storage_key_expr
from subject_pipeline.formats.strict_json import compact_json
from subject_pipeline.formats.times import COLUMN_FORMAT, TIME_FORM
from subject_pipeline.manifests.frames import MANIFEST_FIELDS, TABLE_SCHEMA, times_among, to_rows
from subject_pipeline.manifests.manifest import MANIFEST_SCHEMA, VOCABULARY, SubjectManifest, Translations, Vocabulary
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import MAX_STORAGE_KEY_BYTES

AT = "at"
"""The column that says which document a row was read from."""

_MAY_BE_NULL = frozenset({"version", "given_at", "withdrawn_at", "retention_until"})

_WHITE = b" \t\r\n"  # of JSON: other white space makes a text none

_Type = Any
"""A Polars type or its class."""


def usual_rows(documents: Sequence[bytes], layout: ChunkLayout, words: Translations) -> pl.DataFrame:
    """The rows of the documents that are usual and have none of the words to be translated, in their order.

    Returns:
        `TABLE_SCHEMA` and `AT`, the place in `documents`.
    """
    read = [(at, found) for at, text in enumerate(documents) if (found := _usual(text)) is not None]
    columns = _columns(dict(MANIFEST_FIELDS), [found for _, found in read])
    return (
        pl.DataFrame({**columns, AT: pl.Series([at for at, _ in read], dtype=pl.Int64)})
        .with_columns(storage_key=storage_key_expr("candidate_id"), extra=pl.lit(None, pl.String))
        .filter(
            pl.col("schema") == MANIFEST_SCHEMA,
            pl.col("candidate_id") != "",
            pl.col("storage_key").str.len_bytes() <= MAX_STORAGE_KEY_BYTES,
            *words_known(words),
            *(rule for name, dtype in MANIFEST_FIELDS.items() for rule in _times_fit(pl.col(name), dtype)),
        )
        .with_columns(_timed(pl.col(name), dtype).alias(name) for name, dtype in MANIFEST_FIELDS.items())
        .with_columns(index=chunk_index_expr(layout, "storage_key"))
        .with_columns(chunk=chunk_name_expr(layout, "index"))
        .select(*TABLE_SCHEMA, AT)
    )


def document_rows(documents: Sequence[Mapping[str, Any]], layout: ChunkLayout) -> pl.DataFrame:
    """The rows of manifests' JSON values: those that are usual by column, the others one by one; in no order.

    Returns:
        `TABLE_SCHEMA`.

    Raises:
        ManifestError: one of them is not a manifest.
    """
    texts = [_in_order(document) for document in documents]
    usual = usual_rows([text for text, _ in texts], layout, {})
    usual = usual.with_columns(extra=pl.Series([texts[at][1] for at in usual[AT]], dtype=pl.String))
    done = set(usual[AT])
    others = (SubjectManifest.parse(dict(document)) for at, document in enumerate(documents) if at not in done)
    return pl.concat([usual.drop(AT), to_rows(others, layout)])


def _in_order(document: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """The text of a document that may be usual, and of further fields that are times; no text of any other."""
    more = document.keys() - MANIFEST_FIELDS.keys()
    times = times_among({name: document[name] for name in more})
    if times is None or len(document) != len(MANIFEST_FIELDS) + len(more):
        return b"", None
    text = orjson.dumps({name: document[name] for name in MANIFEST_FIELDS})
    return text, orjson.dumps(times).decode() if times else None


def _usual(text: bytes) -> Any:  # noqa: ANN401 - a type made here
    try:
        found = _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    again = _encode(found)
    return found if again == text.rstrip(_WHITE) or again == compact_json(text) else None


def _columns(fields: Mapping[str, _Type], values: Sequence[Any]) -> dict[str, pa.Array]:
    return {name: _column(dtype, list(map(attrgetter(name), values))) for name, dtype in fields.items()}


def _column(dtype: _Type, values: Sequence[Any]) -> pa.Array:
    """Values of one field; times are still text."""
    if isinstance(dtype, pl.Struct):
        parts = _columns(dict(dtype), values)
        return pa.StructArray.from_arrays(list(parts.values()), list(parts))
    if isinstance(dtype, pl.List):
        ends = accumulate(map(len, values), initial=0)
        inner = _column(dtype.inner, [item for value in values for item in value])
        return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), inner)
    return pa.array(values, pa.large_string())


def words_known(words: Translations, vocabulary: Vocabulary = VOCABULARY) -> Iterator[pl.Expr]:
    """Whether each closed field of a row holds a word of ours that is not to be translated."""
    for field, known in vocabulary.items():
        name, *path = field.split(".")
        word = pl.col(name)
        for part in path:
            word = word.struct.field(part)
        yield word.is_in([one for one in known if one not in words.get(field, {})])


def _times_fit(value: pl.Expr, dtype: _Type) -> Iterator[pl.Expr]:
    """Whether each time that is there is one of the years from 1 to 9999, in the store's form."""
    if isinstance(dtype, pl.Struct):
        for part in dtype.fields:
            yield from _times_fit(value.struct.field(part.name), part.dtype)
    if isinstance(dtype, pl.Datetime):
        form = value.str.contains(f"^{TIME_FORM}$") & ~value.str.starts_with("0000")
        yield value.is_null() | (form & _timed(value, dtype).is_not_null())


def _timed(value: pl.Expr, dtype: _Type) -> pl.Expr:
    if isinstance(dtype, pl.Struct):
        return pl.struct(_timed(value.struct.field(part.name), part.dtype).alias(part.name) for part in dtype.fields)
    if isinstance(dtype, pl.Datetime):
        return value.str.to_datetime(COLUMN_FORMAT, time_unit="us", strict=False).dt.replace_time_zone("UTC")
    return value


def _form(name: str, dtype: _Type) -> Any:  # noqa: ANN401 - a type made here
    """What msgspec is to read: exactly these fields, with no other types."""
    if isinstance(dtype, pl.Struct):
        fields = [(part.name, _form(part.name, part.dtype)) for part in dtype.fields]
        return msgspec.defstruct(name or "item", fields, forbid_unknown_fields=True, frozen=True, gc=False)
    if isinstance(dtype, pl.List):
        return list[_form("", dtype.inner)]  # type: ignore[misc]
    return str | None if name in _MAY_BE_NULL else str


_decode = msgspec.json.Decoder(_form("manifest", pl.Struct(dict(MANIFEST_FIELDS)))).decode
_encode = msgspec.json.Encoder().encode
