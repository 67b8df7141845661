"""`audit verify`, `checkpoint` and `prove`, and `rebuild`: is everything as it was recorded, and how that is shown."""

import contextlib
import datetime as dt
import json
from pathlib import Path

import click

from subject_pipeline.anchoring import checkpointing, proving
from subject_pipeline.checkpoints.proofs import ABSENCE, HEAD, HISTORY, Proven
from subject_pipeline.cli.commands.evidence.audit_reports import (
    checkpoint_words,
    unknown_words,
    verification_json,
    verification_words,
)
from subject_pipeline.cli.commands.life.certificates import issue
from subject_pipeline.cli.progress import bar
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.errors import SourceError, StoreError, UnknownSubjectError
from subject_pipeline.ingestion.rebuilding import rebuild as rebuild_store
from subject_pipeline.lifecycle.stored_findings import store_questionable
from subject_pipeline.objects.durability import whole_file
from subject_pipeline.store.opened import SubjectStore
from subject_pipeline.verification import whole_store
from subject_pipeline.verification.by_processes import verify_by_processes
from subject_pipeline.verification.public_keys import PublicKeys


@click.command()
@click.argument("candidate_ids", nargs=-1, metavar="[ID...]")
@click.option("--incremental", is_flag=True, help="Read only what changed since the last checkpoint.")
@click.option("--known-note", "notes", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint's note kept elsewhere: it must be among the stored ones.")  # fmt: skip
@click.option("--verifier-key", "verifier", metavar="LINE",
              help="Verify without the key ring, by the line that `keys public` prints, or a file of such lines: "
                   "everything that a checkpoint anchors; MACs are looked at for their form alone.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1), metavar="N",
              help="Processes of a full verification. Default: one; for large logs up to one a core.")  # fmt: skip
@command_options
def verify(
    shell: Shell,
    candidate_ids: tuple[str, ...],
    incremental: bool,
    notes: tuple[Path, ...],
    verifier: str | None,
    processes: int | None,
) -> None:
    """Check chains, logs and manifests against MACs, links and the last checkpoint; exit 1 on a finding."""
    if verifier is not None and incremental:
        raise click.UsageError("--verifier-key and --incremental contradict each other: public verification is full")
    if processes is not None and (incremental or candidate_ids):
        raise click.UsageError("--processes is for a full verification of everything")
    public = None if verifier is None else _public_keys(verifier)
    store = shell.keyed_store() if public is None else shell.open_store()
    if public is not None:
        with contextlib.suppress(StoreError):  # public verification finds a lost layout, and goes on without it
            store.check_written()
    with bar("verified", "chunks") as shown:
        known = [_note(path) for path in notes]
        if incremental or candidate_ids:
            report = whole_store.verify(
                store,
                public=public,
                candidate_ids=candidate_ids,
                incremental=incremental,
                known_notes=known,
                watch=lambda _, done, total: shown(done, total),
            )
        else:
            report = verify_by_processes(store, public=public, processes=processes, known_notes=known, progress=shown)
    if report.sound and len(report.unknown) == len(candidate_ids) > 0:
        raise UnknownSubjectError(unknown_words(report))
    listed = _listed(store, report) if verifier is None else None
    shell.tell(verification_json(report, listed), verification_words(report, listed))
    if shell.as_json:
        say(verification_words(report, listed))
    end(DONE if report.sound and not report.unknown else SOMETHING_FAILED)


@click.command()
@click.option("--known-note", "notes", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="A checkpoint's note kept elsewhere: it must be among the stored ones.")  # fmt: skip
@command_options
def checkpoint(shell: Shell, notes: tuple[Path, ...]) -> None:
    """Verify what is new since the last checkpoint, then sign the next."""
    store = shell.keyed_store()
    with bar("verified", "chunks") as shown:
        report = checkpointing.write_checkpoint(store, known_notes=[_note(path) for path in notes], progress=shown)
    written, listed = report.written, _listed(store, report.verification)
    certificates = issue(store)
    shell.tell(
        {
            "number": written.number if written else None,
            "root": written.root if written else None,
            "time": written.time if written else None,
            "note": written.note if written else None,
            "entries": report.entries,
            "carried": sorted([*report.carried, *report.pending]),
            **certificates,
            "verification": verification_json(report.verification, listed),
        },
        checkpoint_words(report, listed),
    )
    if shell.as_json:
        say(checkpoint_words(report, listed))
    end(DONE if written and report.verification.sound else SOMETHING_FAILED)


def _listed(store: SubjectStore, report: whole_store.Verification) -> str | None:
    """Where the store lists the questionable accesses; who may only read it learns their number alone."""
    try:
        return store_questionable(store.objects, report.questionable, dt.datetime.now(dt.UTC))
    except StoreError as error:
        say(f"{len(report.questionable):,} questionable accesses could not be listed in the store: {error}")
        return None


def _public_keys(verifier: str) -> PublicKeys:
    """The keys of a verifier line, or of a file that has one a line."""
    if "+" in verifier and not Path(verifier).is_file():
        return PublicKeys.of([verifier.strip()])
    try:
        lines = Path(verifier).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"cannot read verifier lines from {verifier}: {getattr(error, 'strerror', None) or error}"
        ) from error
    return PublicKeys.of([line.strip() for line in lines if line.strip()])


def _note(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read the note {path}: {getattr(error, 'strerror', None) or error}") from error


@click.command()
@click.argument("candidate_id", metavar="ID")
@click.option("--rows", is_flag=True, help="Prove the whole history, with every row up to the latest checkpoint.")
@click.option("--absent", is_flag=True, help="Prove that the latest checkpoint has no entry of this id.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where the proof goes.")
@command_options
def prove(shell: Shell, candidate_id: str, rows: bool, absent: bool, out: Path) -> None:
    """Write a self-contained proof of what the latest checkpoint says of a subject, or that it says nothing."""
    if rows and absent:
        raise click.UsageError("--rows and --absent are two different proofs: give one of them")
    kind = ABSENCE if absent else HISTORY if rows else HEAD
    made = proving.prove(shell.existing_store(), candidate_id, kind)
    with whole_file(out) as unfinished:
        unfinished.write_text(json.dumps(made.proof, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    entry, stated = made.proven.entry, made.proven.statement
    shell.tell(
        {
            "candidate_id": candidate_id,
            "kind": made.proof["kind"],
            "checkpoint": stated.number,
            "state_of": made.proven.state_of,
            **({"seq": entry.seq, "row_sha256": entry.row_sha256, "state": entry.state} if entry else {}),
            "out": str(out),
        },
        f"{out}: {_proven(candidate_id, made.proven)}; docs/verify_proof.py checks it by what `keys public` prints",
    )


def _proven(candidate_id: str, proven: Proven) -> str:
    entry, number = proven.entry, proven.statement.number
    if entry is None:
        return f"checkpoint {number} has no entry of {candidate_id}"
    chain = f"row {entry.seq}" if entry.seq >= 0 else "no row"
    return f"checkpoint {number} has {chain} of {candidate_id} as the last, and the manifest {entry.state}"


@click.command()
@command_options
def rebuild(shell: Shell) -> None:
    """Write everything that is derived again, from the table and the log: the audit index."""
    with bar("indexed", "chunks") as shown:
        done = rebuild_store(shell.existing_store(), shown)
    shell.tell(
        {"chunks": done.chunks, "segments": done.segments, "removed": done.removed},
        f"audit index of {done.chunks:,} chunks written again from {done.segments:,} segments",
    )
