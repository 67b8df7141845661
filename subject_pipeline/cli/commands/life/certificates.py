"""Certificates of erasures: issued by whichever command first may, and cut out for those who asked."""

from pathlib import Path
from typing import Any

import click

from subject_pipeline.cli.shell import Shell, command_options, say
from subject_pipeline.errors import UnknownSubjectError
from subject_pipeline.lifecycle.erasure.certificates import Certificates
from subject_pipeline.objects.durability import whole_file
from subject_pipeline.store.opened import SubjectStore


def issue(store: SubjectStore) -> dict[str, Any]:
    """Issue the certificates that may be issued now; how many were, and how many wait, for a command's JSON.

    Says on standard error what those wait for that wait for nothing but a trace to go.

    Raises:
        KeyRingError: there is no usable key ring.
        StoreError: the store failed.
    """
    done = Certificates(store).issue()
    if done.certificates:
        say(f"{done.certificates:,} certificates of erasures were issued, below erasures/")
    if done.holding:
        say(
            "certificates wait since these objects hold ids of people who were erased; `subjects compact` removes what "
            "the table no longer needs, and a day later what a writer left that was killed or overtaken: "
            f"{', '.join(done.holding)}"
        )
    return {"certificates": done.certificates, "certificates_pending": done.pending}


@click.command()
@click.argument("candidate_id", metavar="ID")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="Where it goes.")
@command_options
def certificate(shell: Shell, candidate_id: str, out: Path) -> None:
    """Write the certificate of an erasure, which names nobody; docs/verify_certificate.py checks it."""
    found = Certificates(shell.keyed_store()).of(candidate_id)
    if found is None:
        raise UnknownSubjectError(
            f"there is no certificate about {candidate_id!r}: the person was not erased, or it is pending, until "
            "`subjects compact` has removed the last trace and `audit checkpoint` has anchored the row"
        )
    with whole_file(out) as unfinished:
        unfinished.write_bytes(found.line())
    document = found.document
    shell.tell(
        {
            "candidate_id": candidate_id,
            "out": str(out),
            "erased_at": document["erased"]["at"],
            "checkpoint": document["checkpoint"]["number"],
            "remaining": document["remaining_objects"],
        },
        f"{out}: erased at {document['erased']['at']}, anchored by checkpoint {document['checkpoint']['number']}; "
        f"{document['remaining_objects']:,} objects hold the id for a time",
    )
