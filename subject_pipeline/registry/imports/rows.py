"""Documents as rows that an import may write: read, held to the vocabulary, and pointing to this store's audit log."""

import datetime as dt
import json
from collections.abc import Sequence
from itertools import chain

import polars as pl

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.errors import ManifestError
from subject_pipeline.manifests.files import Document
from subject_pipeline.manifests.frames import to_rows
from subject_pipeline.manifests.manifest import VOCABULARY, SubjectManifest, Translations, Vocabulary, audit_log_path
from subject_pipeline.manifests.usual_documents import AT, usual_rows, words_known
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline.store.chunks import ChunkLayout
from subject_pipeline.store.ids import refusal


def rows_of(
    documents: Sequence[Document],
    words: Translations,
    vocabulary: Vocabulary,
    layout: ChunkLayout,
    report: ImportReport,
) -> pl.DataFrame:
    """The manifests that documents hold; what is none, or may not be written, is a failure of the report.

    Returns:
        `TABLE_SCHEMA` and `where`, in the order of the documents.
    """
    usual = usual_rows([document.text for document in documents], layout, words)
    if vocabulary != VOCABULARY:
        usual = usual.filter(*words_known(words, vocabulary))
    done = set(usual[AT])
    others = {
        at: manifest
        for at, document in enumerate(documents)
        if at not in done and (manifest := _manifest(document, words, vocabulary, report)) is not None
    }
    rest = to_rows(others.values(), layout).with_columns(pl.Series(AT, list(others), pl.Int64))
    places = pl.Series([document.where for document in documents], dtype=pl.String)
    return pl.concat([usual, rest]).sort(AT).with_columns(where=pl.lit(places).gather(AT)).drop(AT)


def _manifest(
    document: Document, words: Translations, vocabulary: Vocabulary, report: ImportReport
) -> SubjectManifest | None:
    try:
        manifest = SubjectManifest.parse(document.text).translated(words)
    except ManifestError as error:
        report.fail(document.where, None, str(error))
        return None
    candidate_id = manifest.candidate_id
    reason = refusal(candidate_id, candidate_id) or manifest.unknown_word(vocabulary)
    if reason is not None:
        report.fail(document.where, candidate_id, reason)
        return None
    return manifest


def at_home(rows: pl.DataFrame, evidence: ManifestEvidence, now: dt.datetime) -> pl.DataFrame:
    """The rows with this store's audit log; another system's log is noted in addition, not taken over."""
    path, root = pl.col("audit_log_path"), pl.col("audit_log_chain_root")
    ours = pl.lit(audit_log_path("")) + pl.col("chunk")
    # A path like ours with a root that our log does not have comes from another store like this one.
    told = rows.filter(path == ours, root != "").partition_by("chunk", as_dict=True)
    roots = dict(
        chain.from_iterable(
            evidence.recorded(chunk).roots(theirs["candidate_id"].to_list()).items()
            for (chunk,), theirs in told.items()
        )
    )
    recorded = pl.Series([roots.get(one) for one in rows["candidate_id"]], dtype=pl.String)
    own = (path == ours) & ((root == "") | root.eq_missing(recorded))
    known = rows.select("extra", path, root, foreign=~own & ((path != "") | (root != "")))
    extras = [_noting(*log) if foreign else log[0] for *log, foreign in known.iter_rows()]
    return rows.with_columns(
        pl.lit(now).cast(rows.schema["updated_at"]).alias("updated_at"),
        ours.alias("audit_log_path"),
        audit_log_chain_root=pl.lit(""),
        extra=pl.Series(extras, dtype=pl.String),
    )


def _noting(extra: str | None, path: str, chain_root: str) -> str:
    """A manifest's further fields with the log that it came with, unless they name one: then that is the first."""
    fields = json.loads(extra) if extra else {}
    fields.setdefault("imported_audit_log", {"path": path, "chain_root": chain_root})
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
