"""`keys retire`: a checkpoint from which on a key writes nothing that verification accepts."""

import click

from subject_pipeline.anchoring.checkpointing import write_checkpoint
from subject_pipeline.cli.progress import bar
from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end
from subject_pipeline.errors import KeyRingError


@click.command()
@click.argument("key_id", metavar="KEY_ID")
@command_options
def retire(shell: Shell, key_id: str) -> None:
    """Sign a checkpoint from which on rows and segments of an earlier key are refused by verification.

    Give every writer a ring in which another key is active first: what it writes with this one later turns red.
    """
    store = shell.keyed_store()
    ring = store.ring.ring()
    if key_id == ring.active:
        raise KeyRingError(f"cannot retire the key {key_id}: it is the active one; `keys rotate` makes another active")
    if ring.key(key_id) is None:
        raise KeyRingError(
            f"cannot retire the key {key_id}: this ring does not have it; `keys rotate --json` names all"
        )
    with bar("verified", "chunks") as shown:
        report = write_checkpoint(store, retire=key_id, progress=shown)
    written, carried = report.written, sorted([*report.carried, *report.pending])
    words = (
        f"the key {key_id} is retired since checkpoint {written.number}" if written else _not_retired(key_id, carried)
    )
    shell.tell({"key_id": key_id, "number": written.number if written else None, "carried": carried}, words)
    end(DONE if written else SOMETHING_FAILED)


def _not_retired(key_id: str, carried: list[str]) -> str:
    why = f"these chunks would be carried: {', '.join(carried)}" if carried else "no checkpoint can be written"
    return f"the key {key_id} is not retired: {why}; see `subject-pipeline audit verify`"
