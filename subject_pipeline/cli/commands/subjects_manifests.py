"""`subjects get`, `count`, `delete`, `export`, `import` and `compact`: the registry of manifests."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.cli.commands.life.certificates import issue
from subject_pipeline.cli.moments import MOMENT
from subject_pipeline.cli.shell import (
    DONE,
    INTERRUPTED,
    SOMETHING_FAILED,
    Shell,
    command_options,
    end,
    say,
    say_unfinished,
)
from subject_pipeline.errors import SubjectPipelineError
from subject_pipeline.lifecycle.history.telling import manifest_then
from subject_pipeline.manifests.manifest import translations
from subject_pipeline.registry import exporting
from subject_pipeline.registry.imports.importing import import_manifests
from subject_pipeline.registry.maintenance import compact as compact_store
from subject_pipeline.registry.outcomes import ImportReport
from subject_pipeline.registry.subjects import SubjectRegistry

_SHOWN_FAILURES = 20


@click.command()
@click.argument("candidate_id", metavar="ID")
@click.option("--as-of", type=MOMENT, metavar="TIME", help="As it was then: RFC 3339 with an offset, or a day (UTC).")
@command_options
def get(shell: Shell, candidate_id: str, as_of: str | None) -> None:
    """Print a subject's manifest."""
    store = shell.existing_store()
    if as_of is None:
        manifest = SubjectRegistry(store).get(candidate_id).as_json()
    else:
        manifest = manifest_then(store, candidate_id, as_of).as_json()
    shell.tell(manifest, json.dumps(manifest, ensure_ascii=False, indent=2))


@click.command()
@command_options
def count(shell: Shell) -> None:
    """Count the subjects."""
    found = SubjectRegistry(shell.existing_store()).count()
    shell.tell({"count": found}, f"{found:,}")


@click.command()
@click.argument("candidate_id", metavar="ID")
@command_options
def delete(shell: Shell, candidate_id: str) -> None:
    """Delete a subject's manifest, and what is staged for it.

    For what was registered by mistake: the next registration takes the person again. To keep somebody from being
    registered again, use `subjects erase`. Somebody held is not deleted.
    """
    store = shell.existing_store()
    forgotten = SubjectRegistry(store, ManifestEvidence(store, shell.actor())).delete(candidate_id)
    shell.tell(
        {"candidate_id": candidate_id, "deleted": True, "staged_parts_rewritten": forgotten},
        f"deleted {candidate_id}",
    )
    say(
        "The row is still in the files of earlier table versions below subjects/: "
        "`subject-pipeline subjects compact` removes it for good. Nothing is suppressed: while the source holds the "
        "person, the next backfill registers them again; `subject-pipeline subjects erase` keeps them out."
    )


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help=".jsonl or .parquet")
@command_options
def export(shell: Shell, out: Path) -> None:
    """Write every manifest to a file, sorted by chunk and storage key."""
    written = exporting.export(shell.existing_store(), out)
    shell.tell({"out": str(out), "count": written}, f"{written:,} manifests written to {out}")


@click.command("import")
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE|DIR")
@click.option("--map", "pairs", multiple=True, metavar="THEIRS=OURS",
              help="Another system's word for one of ours, such as granted=given. May be given again.")  # fmt: skip
@command_options
def import_(shell: Shell, path: Path, pairs: tuple[str, ...]) -> None:
    """Register the manifests of a file, or of a folder of *.json, and replace those that differ.

    A status, vertical or policy that is not one of our words is refused, with the list of words; --map translates.
    """
    started = time.perf_counter()
    report = ImportReport()
    status = DONE
    ending: str | SubjectPipelineError = ""
    try:
        store = shell.open_store()
        evidence = ManifestEvidence(store, shell.actor())
        words = translations(pairs, evidence.policies().vocabulary)
        import_manifests(store, path, report, evidence, words)
    except KeyboardInterrupt:
        status, ending = INTERRUPTED, "interrupted"
    except SubjectPipelineError as error:
        if not report.manifests:
            raise
        status, ending = SOMETHING_FAILED, error
    elapsed = time.perf_counter() - started
    for failure in report.failures[:_SHOWN_FAILURES]:
        say(f"failed: {failure.where}: {failure.reason}")
    if report.failed > _SHOWN_FAILURES:
        say(f"... and {report.failed - _SHOWN_FAILURES:,} more (--json names up to 10,000)")
    shell.tell(
        {
            "manifests": report.manifests,
            "inserted": report.inserted,
            "replaced": report.replaced,
            "unchanged": report.unchanged,
            "failed": report.failed,
            "failures": [asdict(failure) for failure in report.failures],
            "elapsed_s": round(elapsed, 3),
        },
        f"{report.manifests:,} manifests read: {report.inserted:,} inserted, {report.replaced:,} replaced, "
        f"{report.unchanged:,} unchanged, {report.failed:,} failed",
    )
    if ending:
        say_unfinished(ending)
    end(status or (SOMETHING_FAILED if report.failed else DONE))


@click.command()
@command_options
def compact(shell: Shell) -> None:
    """Apply what is recorded, merge small files, and remove for good what no manifest needs.

    Deleted subjects are physically gone afterwards. What killed commands recorded in the audit log is applied only with
    a key ring.
    """
    store = shell.existing_store()
    done = compact_store(store, ManifestEvidence(store, shell.actor()) if store.ring.configured else None)
    certificates = issue(store) if store.ring.configured else {}
    shell.tell(
        {**asdict(done), **certificates},
        f"files {done.files_before:,} -> {done.files_after:,}, bytes {done.bytes_before:,} -> {done.bytes_after:,}; "
        f"{done.staged_removed:,} stale staged objects removed; {done.settled:,} recorded changes applied",
    )
    if done.unexplained:
        say("Some manifests are not as the audit log records them and were left: run `subject-pipeline audit verify`")
