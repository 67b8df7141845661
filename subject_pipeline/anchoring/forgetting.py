"""Which objects below `checkpoints/` nobody needs any more, and how they go.

Notes stay, and so does every `checkpoint.json` in the tree: without one of them none could be proven. Leaves and
rosters go once no checkpoint among the last two, and none at which a key was retired, names them; and nothing goes in
its first day, since an attempt at the next checkpoint may count on it.
"""

import datetime as dt
import re

from subject_pipeline.checkpoints.checkpoint_tree import STATEMENT
from subject_pipeline.checkpoints.stored_checkpoints import Checkpoint, CheckpointStore
from subject_pipeline.objects.protocol import ObjectStore
from subject_pipeline.store.layout import CHECKPOINTS, checkpoint_key, leaves_key, roster_key

GIVEN_UP_AFTER = dt.timedelta(hours=6)
"""An attempt at a checkpoint that takes longer is given up, long before what it wrote may go."""

_KEPT_FOR = dt.timedelta(days=1)
_DERIVED = re.compile(rf"{CHECKPOINTS}(?:leaves/[0-9a-f]{{64}}|rosters/chunk-[0-9a-f]{{1,5}}/[0-9a-f]{{64}})")


def forget(objects: ObjectStore, store: CheckpointStore, newest: Checkpoint, now: dt.datetime) -> None:
    """Delete what is needed no more; a checkpoint that cannot be read stops it before anything is deleted.

    Raises:
        CheckpointError: an earlier checkpoint that says what is needed does not hold.
        StoreError: the store failed; nothing is lost by that.
    """
    old = [item.key for item in objects.list(CHECKPOINTS) if item.modified < now - _KEPT_FOR]
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
