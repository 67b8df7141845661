"""`keys`: the key ring for the audit log's MACs and its checkpoints' signatures. No key is ever printed."""

import os
import secrets
from pathlib import Path

import click

from subject_pipeline.checkpoints.trusted_keys import TrustedKeys
from subject_pipeline.cli.lazy_group import Lazy, LazyGroup
from subject_pipeline.cli.shell import SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.errors import KeyRingError
from subject_pipeline.keys.ring import KEY_BYTES, KeyRing
from subject_pipeline.keys.ring_file import create_ring
from subject_pipeline.keys.rotation import check_copy, rotate_ring, rotate_signing_key, write_copy

_HERE = "subject_pipeline.cli.commands"
_copy_option = click.option(
    "--writer-copy",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a ring that appends and verifies, but cannot sign checkpoints.",
)


@click.group(
    cls=LazyGroup,
    lazy=(
        Lazy("new", f"{_HERE}.keys", "Make a key ring in a new file that only its owner can read."),
        Lazy(
            "public",
            f"{_HERE}.keys",
            "Print the line with which anyone can verify this store's checkpoints (C2SP signed-note verifier key).",
        ),
        Lazy(
            "retire",
            f"{_HERE}.keys_retire",
            "Sign a checkpoint from which on rows and segments of an earlier key are refused by verification.",
        ),
        Lazy(
            "rotate",
            f"{_HERE}.keys",
            "Make a new key the active one of $SUBJECT_KEY_RING; earlier keys still verify their rows.",
        ),
    ),
)
def keys() -> None:
    """Make, rotate and retire keys of the ring ($SUBJECT_KEY_RING), and print its public keys."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@_copy_option
@command_options
def new(shell: Shell, file: Path, writer_copy: Path | None) -> None:
    """Make a key ring in a new file that only its owner can read."""
    wanted = [file] if writer_copy is None else [file, writer_copy]
    if len(set(map(os.path.realpath, wanted))) < len(wanted):
        raise KeyRingError(f"the key ring and its writer's copy cannot both be {file}")
    for path in wanted:
        if os.path.lexists(path):
            raise KeyRingError(f"cannot create {path}: it exists, and keys are never overwritten; name another file")
    ring = KeyRing.new(secrets.token_bytes(KEY_BYTES), secrets.token_bytes(KEY_BYTES))
    create_ring(file, ring)
    if writer_copy is not None:
        try:
            create_ring(writer_copy, ring.writer_copy())
        except BaseException:
            file.unlink(missing_ok=True)  # nobody has used it yet, and the call did not do what it was asked
            raise
    shell.tell(
        {"file": str(file), "key_id": ring.active, "writer_copy": _named(writer_copy)},
        f"key ring {ring.active} written to {file}"
        + (f", its writer's copy to {writer_copy}" if writer_copy else "")
        + f"\nnext: export SUBJECT_KEY_RING={file.absolute()}",
    )
    say("Keep a copy of it where the store is not: without it nothing can be recorded or signed, and no MAC verified.")


@click.command()
@click.option("--signing", is_flag=True, help="Rotate the key that signs checkpoints instead.")
@_copy_option
@command_options
def rotate(shell: Shell, signing: bool, writer_copy: Path | None) -> None:
    """Make a new key the active one of $SUBJECT_KEY_RING; earlier keys still verify their rows.

    With --signing, make a new signing key: the next checkpoint of each store names it alone, and is signed with both.
    """
    path = shell.key_ring().path
    if writer_copy is not None:
        check_copy(path, writer_copy)
    ring = (rotate_signing_key if signing else rotate_ring)(path, secrets.token_bytes(KEY_BYTES))
    ending = ""
    if writer_copy is not None:
        try:
            write_copy(path, writer_copy)
        except KeyRingError as error:
            ending = str(error)
    done = f"key {ring.active} is active now, one of {len(ring.keys)}"
    if signing:
        done = "a new key signs checkpoints now; run `subject-pipeline audit checkpoint` of every store that it signs"
    shell.tell(
        {
            "file": str(path),
            "key_id": ring.active,
            "keys": list(ring.keys),
            "writer_copy": None if ending else _named(writer_copy),
        },
        f"{path}: {done}" + (f"; its writer's copy is {writer_copy}" if writer_copy and not ending else ""),
    )
    if ending:
        say(f"{ending}: the ring is rotated, its copy is as it was; fix this and rotate again", level="error")
        end(SOMETHING_FAILED)


@click.command()
@command_options
def public(shell: Shell) -> None:
    """Print the line with which anyone can verify this store's checkpoints (C2SP signed-note verifier key).

    The current key's comes first, then those of earlier keys, which verify older checkpoints. Lines name the store's
    log, so a store that was never written is laid out; its number of chunks is then fixed.
    """
    ring = shell.key_ring().ring()
    if ring.signing is None:
        raise KeyRingError("the key ring has no signing key, so it has no public one; `keys new` makes a ring with one")
    store = shell.open_store()
    known = store.layout()
    layout = known or store.layout_or_create()
    line, *older = TrustedKeys.of_ring(ring, layout.log_id).lines
    shell.tell({"verifier": line, "older": older}, "\n".join([line, *older]))
    if known is None:
        say(f"This made a new store at {store.location.url}; its {layout.chunk_count} chunks are now fixed.")


def _named(path: Path | None) -> str | None:
    return None if path is None else str(path)
