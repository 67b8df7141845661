"""`subjects erase`: people are erased, and not registered again."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import click

from subject_pipeline.changes.evidence import ManifestEvidence
from subject_pipeline.cli.commands.life.certificates import issue
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.errors import ConfigurationError, DecisionError
from subject_pipeline.lifecycle.erasure import again as certified_again
from subject_pipeline.lifecycle.erasure import selecting
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Erasure, Order
from subject_pipeline.lifecycle.id_files import read_ids
from subject_pipeline.store.opened import SubjectStore

_SHOWN = 20


@click.command()
@click.argument("candidate_ids", metavar="ID...|CERTIFICATES...", nargs=-1)
@click.option("--file", "path", type=click.Path(path_type=Path), metavar="FILE",
              help="Everybody whom a file names, in place of ids: one a line, or a column candidate_id.")  # fmt: skip
@click.option("--due", is_flag=True, help="Everybody past the date of general personal data: order and erase them.")
@click.option("--ordered", is_flag=True, help="Everybody whose erasure is ordered, and stands.")
@click.option("--again", is_flag=True, help="After a restore: everybody whom certificates name, files in place of ids.")
@click.option("--reason", metavar="TEXT", help="Up to 200 characters, no personal data.")
@click.option("--evidence", metavar="URI|sha256:HEX", help="The document that the order rests on.")
@click.option("--actor", metavar="NAME", help="Who orders it. Default: $SUBJECT_ACTOR, else the system user.")
@click.option("--approved-by", metavar="NAME", help="The second person, where a policy wants four eyes.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and write nothing.")
@command_options
def erase(
    shell: Shell,
    candidate_ids: tuple[str, ...],
    path: Path | None,
    due: bool,
    ordered: bool,
    again: bool,
    reason: str | None,
    evidence: str | None,
    actor: str | None,
    approved_by: str | None,
    dry_run: bool,
) -> None:
    """Erase people: record the order, then the erasure, and keep them from being registered again.

    Anyone who is held is ordered to be erased, and is once the last hold is released, by `--ordered`. What earlier
    versions of the table still hold goes with `subjects compact`.
    """
    if sum((bool(candidate_ids), path is not None, due, ordered)) != 1 or (again and not candidate_ids):
        raise ConfigurationError(
            "say whom to erase: ids, --file FILE, --due, --ordered, or --again and files of certificates"
        )
    order = _order(actor or shell.actor(), reason, evidence, approved_by)
    wanted = read_ids(path) if path is not None else list(candidate_ids)
    store = shell.keyed_store()
    if due or ordered:
        wanted = _selected(store, shell.actor(), due=due)
    elif again:
        wanted = certified_again.named(store, certified_again.read_certificates(store, list(map(Path, wanted))))
    erasures = Erasures(store, shell.actor())
    done = erasures.erase(wanted, order, dry_run=dry_run)
    erasures.close()
    pending = {"certificates": 0, "certificates_pending": Certificates(store).pending()} if dry_run else None
    _tell(shell, done, pending or issue(store), dry_run=dry_run)
    end(DONE if done.complete else SOMETHING_FAILED)


def _order(actor: str, reason: str | None, evidence: str | None, approved_by: str | None) -> Order:
    try:
        return Order.of(actor, reason, evidence, approved_by)
    except DecisionError as error:
        raise ConfigurationError(f"cannot order an erasure so: {error}") from error


def _selected(store: SubjectStore, actor: str, *, due: bool) -> list[str]:
    evidence = ManifestEvidence(store, actor)
    evidence.open()
    return selecting.past_date(store, evidence, dt.datetime.now(dt.UTC)) if due else selecting.ordered(store, evidence)


def _tell(shell: Shell, done: Erasure, certificates: Mapping[str, int], *, dry_run: bool) -> None:
    told = [
        *((one, "held: ordered, and erased once the last hold is released") for one in done.held),
        *((one, "unknown: no manifest carries this id, so nothing was written for it") for one in done.unknown),
        *done.refused.items(),
    ]
    for one, why in told[:_SHOWN]:
        say(f"not erased: {one}: {why}")
    if len(told) > _SHOWN:
        say(f"... and {len(told) - _SHOWN:,} more (--json names all)")
    would = "would be " if dry_run else ""
    shell.tell(
        {
            "ordered": done.ordered,
            "erased": done.erased,
            "already": done.already,
            "held": done.held,
            "unknown": done.unknown,
            "refused": [{"candidate_id": one, "reason": why} for one, why in done.refused.items()],
            **certificates,
            "dry_run": dry_run,
        },
        f"{done.erased:,} {would}erased, {done.ordered:,} {would}newly ordered; {len(done.already):,} erased before, "
        f"{len(done.held):,} held, {len(done.unknown):,} unknown, {len(done.refused):,} refused; "
        f"{certificates['certificates_pending']:,} certificates pending",
    )
