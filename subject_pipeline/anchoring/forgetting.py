"""Which objects below `checkpoints/` nobody needs any more, and how they go.

Notes stay, and so does every `checkpoint.json` in the tree: without one of them none could be proven. Leaves and
rosters go once no checkpoint among the last two, and none at which a key was retired, names them; and nothing goes in
its first day, since an attempt at the next checkpoint may count on it.

No store deletes on a condition, and who deletes may be suspended for days between its LIST and a delete. So that
nothing that another signer names meanwhile is deleted, two rules hold whatever the clocks say:

* Only the signer of the last checkpoint deletes: a later note in its LIST leaves it to that note's signer.
* What is not named by the checkpoint before is named only if this attempt made it, so it is on nobody's list. A new
  roster is always another one, by its blinds. Leaves could be those of an earlier state: see `unlisted`.
"""

import datetime as dt
import re
from collections.abc import Mapping

from subject_pipeline.checkpoints.leaves import ChunkLeaf, state_root
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.checkpoints.tree.stored import NOTE, STATEMENT
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import CHECKPOINTS, checkpoint_key, leaves_key, roster_key

GIVEN_UP_AFTER = dt.timedelta(hours=6)
"""An attempt at a checkpoint that takes longer is given up, long before what it wrote may go."""

_KEPT_FOR = dt.timedelta(days=1)
_DERIVED = re.compile(rf"{CHECKPOINTS}(?:leaves/[0-9a-f]{{64}}|rosters/chunk-[0-9a-f]{{1,5}}/[0-9a-f]{{64}})")


def forget(objects: ObjectStore, store: CheckpointStore, newest: Checkpoint, now: dt.datetime) -> None:
    """Delete what is needed no more; a checkpoint that cannot be read stops it before anything is deleted.

    Args:
        objects: the store's.
        store: its checkpoints.
        newest: the checkpoint that was just signed; nothing is deleted if there is a later one.
        now: the time.

    Raises:
        CheckpointError: an earlier checkpoint that says what is needed does not hold.
        StoreError: the store failed; nothing is lost by that.
    """
    listed = list(objects.list(CHECKPOINTS))
    if any((note := NOTE.fullmatch(item.key)) and int(note[1]) > newest.number for item in listed):
        return
    old = [item.key for item in listed if item.modified < now - _KEPT_FOR]
    old = [key for key in old if _DERIVED.fullmatch(key) or STATEMENT.fullmatch(key)]
    if not old:
        return
    needed = {checkpoint_key(number, one.hex()) for number, one in enumerate(newest.hashes)}
    for number in {newest.number, max(newest.number - 1, 0), *newest.statement.retired_keys.values()}:
        stated = store.earlier(newest, number)
        leaves = newest.leaves if number == newest.number else store.leaves(stated)
        needed.add(leaves_key(stated.state_root))
        needed.update(roster_key(chunk, leaf.roster_root) for chunk, leaf in leaves.items())
    for key in old:
        if key not in needed:
            objects.delete(key)


def unlisted(
    objects: ObjectStore, leaves: Mapping[str, ChunkLeaf], before: Mapping[str, ChunkLeaf]
) -> dict[str, ChunkLeaf]:
    """The leaves of the next checkpoint, in a state whose object nobody may be about to delete.

    A state that is stored already, and is not that of the checkpoint before, was left by an earlier checkpoint or by a
    killed attempt. In its place a chunk whose roster did not change keeps its leaf of before: it says the same of all
    subjects, and only what the signer needs to see whether anything changed is older, so that the chunk is read again.

    Args:
        objects: the store's.
        leaves: by chunk, as they were found.
        before: those of the checkpoint before, in the layout's order.

    Raises:
        StoreError: the store failed.
    """
    root = state_root(leaves[chunk] for chunk in before)
    if root == state_root(before.values()) or not objects.exists(leaves_key(root)):
        return dict(leaves)
    return {
        chunk: leaves[chunk] if leaves[chunk].roster_root != old.roster_root else old for chunk, old in before.items()
    }
