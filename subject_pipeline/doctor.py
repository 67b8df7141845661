"""`doctor`: is this store fit for work from here, and if not, what is wrong and how to fix it.

One examination is one function; together they are longer than other files, and read one by one.
"""

import datetime as dt
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from subject_pipeline.anchoring.last_checkpoint import stored_checkpoint
from subject_pipeline.candidates.source_files import find_source_files
from subject_pipeline.candidates.source_keys import SourceKeys
from subject_pipeline.errors import (
    CheckpointError,
    ConfigurationError,
    KeyRingError,
    SourceError,
    StoreError,
    SubjectPipelineError,
)
from subject_pipeline.formats.shown_text import shown, without_credentials
from subject_pipeline.ingestion.inbox import EVENT_INBOX
from subject_pipeline.keys.ring import KeyRing
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.manifests.table import ManifestTable
from subject_pipeline.project.platform import Automation
from subject_pipeline.store.layout import CATALOG, PROBES, StoreLayout
from subject_pipeline.store.opened import SubjectStore

Level = Literal["ok", "warning", "problem", "skipped"]
SKEW_ALLOWED_S = 60.0
_COMFORTABLE = 10_000
_CROWDED = 10
_LONG = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """What one examination found.

    Attributes:
        name: the examination.
        level: `problem`: work will fail or cannot be trusted until it is fixed; `warning`: it should be looked at.
        detail: what was found; holds no secret.
        mend: what to do; empty where there is nothing to do.
    """

    name: str
    level: Level
    detail: str
    mend: str = ""


def diagnose(
    store: SubjectStore,
    *,
    read_only: bool = False,
    automation: Automation | None = None,
    dagster_home: Path | None = None,
    clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> list[Finding]:
    """Examine a store as this process reaches it; nothing is raised, and only short-lived probes are written.

    An examination that fails, in whatever way, is a finding and does not stop the others.

    Args:
        store: where the work is to be done, with the keys for it.
        read_only: write no probes, for credentials that only verify or read.
        automation: how recent a checkpoint has to be; None: the defaults.
        dagster_home: where Dagster's instance is configured; None: it is not looked at.
        clock: this machine's time, UTC.
    """
    findings: list[Finding] = []
    layout, keys = None, None
    with _examining("access", findings):
        findings.append(_access(store))
    if findings[0].level == "problem":
        return findings
    if read_only:
        told = "not asked for (--read-only)"
        findings += [Finding(name, "skipped", told) for name in ("writing", "conditional writes", "clock")]
    else:
        with _examining("writing", findings):
            findings.extend(_probes(store, clock))
    with _examining("layout", findings):
        layout, found = _layout(store)
        findings.append(found)
    with _examining("key ring", findings):
        keys, found = _key_ring(store.ring)
        findings.append(found)
    with _examining("checkpoint", findings):
        due = dt.timedelta(days=(automation or Automation()).checkpoint_within_days)
        findings.append(_checkpoint(store, layout, keys, due, clock))
    with _examining("table", findings):
        findings.append(_table(store, layout))
    with _examining("inbox", findings):
        findings.append(_inbox(store if keys else store.without_ring(), layout))
    if dagster_home is not None:
        with _examining("dagster", findings):
            findings.append(_dagster(dagster_home))
    names: list[str] = []
    with _examining("datasets", findings):
        names = store.catalog.names()
        if not names:
            findings.append(Finding("datasets", "ok", "none is registered yet"))
    for name in names:
        with _examining(f"source of {name}", findings):
            findings.append(_source(store, name))
    return findings


@contextmanager
def _examining(name: str, findings: list[Finding]) -> Iterator[None]:
    """One examination: anything raised in it is a finding, and the next one follows."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except SubjectPipelineError as error:
        findings.append(Finding(name, "problem", str(error)))
    except BaseException as error:  # noqa: BLE001 - a panic of a library's Rust is no Exception
        told = f"an unexpected error: {type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
        findings.append(Finding(name, "problem", without_credentials(shown(told, _LONG))))


def _access(store: SubjectStore) -> Finding:
    started = time.perf_counter()
    try:
        objects = sum(1 for _ in store.objects.list(CATALOG))
    except StoreError as error:
        return Finding(
            "access",
            "problem",
            f"cannot list {store.location.url}: {error}",
            "check the URL, that the bucket exists, the endpoint, and the credentials: docs/stores.md says what each "
            "provider reads",
        )
    took = time.perf_counter() - started
    return Finding("access", "ok", f"{store.location.url} answers in {took * 1000:.0f} ms; {objects} catalog objects")


def _probes(store: SubjectStore, clock: Callable[[], dt.datetime]) -> Iterator[Finding]:
    key = f"{PROBES}{secrets.token_hex(8)}"
    objects = store.objects
    try:
        before = clock()
        created = objects.create(key, b"first")
        after = clock()
        modified = next(item.modified for item in objects.list(PROBES) if item.key == key)
        again = objects.create(key, b"second")
        standing = objects.get(key)
    except (StoreError, StopIteration) as error:
        yield Finding(
            "writing",
            "problem",
            f"a probe below {PROBES} could not be written and read back: {error or 'it was not listed'}",
            "these credentials need to read, list and create here; for ones that must not write, use --read-only",
        )
        return
    finally:
        removed = _removed(store, key)
    yield removed or Finding("writing", "ok", "a probe was created, listed, read and deleted")
    if created and not again and standing == b"first":
        yield Finding("conditional writes", "ok", "a second create of the same key was refused")
    else:
        yield Finding(
            "conditional writes",
            "problem",
            "a second create of the same key was not refused: two writers would overwrite each other's audit rows",
            "use a store that has put-if-absent (If-None-Match: * on S3), or its setting for it; do not write here",
        )
    skew = max((before - modified).total_seconds(), (modified - after).total_seconds(), 0.0)
    if skew > SKEW_ALLOWED_S:
        yield Finding(
            "clock",
            "problem",
            f"this machine's clock and the store's are {skew:.0f} s apart",
            "set this machine's time (NTP): times of audit rows, retention and signed requests depend on it",
        )
    else:
        yield Finding("clock", "ok", f"within {max(skew, 1.0):.0f} s of the store's")


def _removed(store: SubjectStore, key: str) -> Finding | None:
    try:
        store.objects.delete(key)
    except StoreError as error:
        return Finding(
            "writing",
            "warning",
            f"the probe {key} could not be deleted again: {error}",
            "right for a writer that may not delete anywhere; but it cannot erase subjects or maintain the table",
        )
    return None


def _layout(store: SubjectStore) -> tuple[StoreLayout | None, Finding]:
    try:
        layout = store.layout()
    except ConfigurationError as error:
        return store.catalog.layout(None), Finding("layout", "problem", str(error), "set SUBJECT_CHUNKS as it says")
    except StoreError as error:
        return None, Finding("layout", "problem", str(error), "restore catalog/layout.json from a backup")
    if layout is None:
        return None, Finding(
            "layout",
            "ok",
            f"nothing was written yet; the first write lays out {store.intended_chunks().count} chunks for good",
        )
    return layout, Finding("layout", "ok", f"{layout.chunk_count} chunks, log {layout.log_id}")


def _key_ring(ring: KeyRingFile) -> tuple[KeyRing | None, Finding]:
    if not ring.configured:
        return None, Finding(
            "key ring",
            "warning",
            "none is configured: subjects can be registered, but the audit log cannot be used",
            "subject-pipeline keys new FILE, then set SUBJECT_KEY_RING=FILE",
        )
    try:
        keys = ring.ring()
    except KeyRingError as error:
        return None, Finding("key ring", "problem", str(error))
    if keys.signing is None or keys.signing.private is None:
        return keys, Finding("key ring", "ok", f"key {keys.active} is active; a writer's copy, which cannot sign")
    return keys, Finding("key ring", "ok", f"key {keys.active} is active, one of {len(keys.keys)}; it can sign")


def _checkpoint(
    store: SubjectStore,
    layout: StoreLayout | None,
    keys: KeyRing | None,
    due: dt.timedelta,
    clock: Callable[[], dt.datetime],
) -> Finding:
    name, how = "checkpoint", "subject-pipeline audit checkpoint, or the job verify_checkpoint_and_report"
    if layout is None or keys is None or keys.signing is None:
        return Finding(name, "skipped", "needs a layout and a key ring with a public key")
    try:
        latest = stored_checkpoint(store)
    except CheckpointError as error:
        return Finding(
            name,
            "problem",
            f"the last checkpoint does not hold: {error}",
            "is this the ring that signed it? If so, restore checkpoints/ and see docs/when_a_check_is_red.md",
        )
    if latest is None:
        return Finding(name, "warning", "there is none: what is cut off the end of a log would not be noticed", how)
    age = clock() - dt.datetime.fromisoformat(latest.time)
    told = f"checkpoint {latest.number} is {_days(age)} old"
    return Finding(name, "warning", told, how) if age > due else Finding(name, "ok", told)


def _table(store: SubjectStore, layout: StoreLayout | None) -> Finding:
    snapshot = ManifestTable(store).snapshot() if layout is not None else None
    if snapshot is None or layout is None:
        return Finding("table", "ok", "there is none yet")
    count, crowded = snapshot.count(), sum(map(len, snapshot.crowded(more_than=_CROWDED)))
    told = f"version {snapshot.version}, {count:,} subjects in {layout.chunk_count} chunks"
    if crowded:
        return Finding(
            "table",
            "warning",
            f"{told}; {crowded} chunks have more than {_CROWDED} files",
            "subject-pipeline subjects compact, or the job maintain_store",
        )
    if count > 4 * _COMFORTABLE * layout.chunk_count:
        return Finding(
            "table",
            "warning",
            f"{told}: {count // layout.chunk_count:,} a chunk, where about {_COMFORTABLE:,} is comfortable",
            "the count is fixed at creation: docs/scale.md says what it costs, and how to move to a new store",
        )
    return Finding("table", "ok", told)


def _inbox(store: SubjectStore, layout: StoreLayout | None) -> Finding:
    files = EVENT_INBOX.waiting(store, layout.log_id if layout else None)
    return Finding("inbox", "ok", f"{len(files):,} event files wait to be ingested")


def _dagster(home: Path) -> Finding:
    """Whether the instance gives pools a limit, and takes slots back that runs left when they died."""
    file = home / "dagster.yaml"
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        return Finding("dagster", "warning", f"{file} cannot be read: {type(error).__name__}", "copy one of deploy/")
    pools = (said.get("concurrency") or {}).get("pools") or {}
    if "default_limit" not in pools:
        return Finding(
            "dagster",
            "warning",
            f"{file} gives pools no limit: two verifications, or two stagings of one dataset, may run at once",
            "concurrency: {pools: {default_limit: 1, granularity: run}} there, or limits of the pools in the UI",
        )
    if not (said.get("run_monitoring") or {}).get("free_slots_after_run_end_seconds"):
        return Finding(
            "dagster",
            "warning",
            f"{file} takes no slot of a pool back from a run that died: what needs it would wait for ever",
            "run_monitoring: {enabled: true, free_slots_after_run_end_seconds: 60} there",
        )
    return Finding("dagster", "ok", f"pools have a limit of {pools['default_limit']}, and slots are taken back")


def _source(store: SubjectStore, name: str) -> Finding:
    about, dataset = f"source of {name}", store.catalog.dataset(name)
    try:
        files = find_source_files(dataset.source)
    except SourceError as error:
        return Finding(about, "warning", str(error), "runs of this dataset fail until its source is there")
    try:
        keys = SourceKeys(files, dataset.key_column)
    except SourceError as error:
        return Finding(
            about,
            "problem",
            str(error),
            "runs of this dataset fail: register it again with the right key column (in its YAML too, where it has "
            "one), or correct the source",
        )
    size = sum(file.size for file in files.files)
    told = f"{len(files.files):,} files, {size / 1e6:,.1f} MB, {keys.total_rows:,} rows at {dataset.source}"
    return Finding(about, "ok", f"{told}; key column {dataset.key_column!r} can form ids")


def _days(age: dt.timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"  # noqa: PLR2004 - two days
