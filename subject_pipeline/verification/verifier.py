"""Verification, chunk by chunk: chains, logs and manifests, checked against MACs, links and the last checkpoint.

The order of reading is what keeps a live store from raising false alarms:

1. a view: the last checkpoint, then the table's files, then a LIST of the logs. It is frozen: one view serves a chunk
   from its leaf to its last segment. Where the view's roster was replaced meanwhile, the chunk starts again.
2. of each chunk the manifests, then the log as far as it was listed.
3. a chunk in which a manifest does not fit starts again under a fresh view, once all others were looked at: what the
   table showed before is recorded in what is listed now. What does not fit is a finding if it is there twice and
   nothing was recorded of it in between.

One chunk's trouble is that chunk's alone, whatever it is.
"""

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from subject_pipeline.errors import ConfigurationError
from subject_pipeline.objects.overlapping import at_once, overlapped
from subject_pipeline.verification.chunk import ChunkVerifier, Clock, ViewMovedError
from subject_pipeline.verification.findings import ChunkFindings, moved, unreadable
from subject_pipeline.verification.views import AuditedStore, View

CONCURRENCY = 8
"""Chunks verified at once on a store that is not local; the segments of each take up to 32 MiB."""

_LOOKS_AGAIN_AFTER_S = (0.1, 0.4, 1.5, 2.0)

Result = TypeVar("Result")


class Verifier:
    """One verification: the view that it began with, and the chunks under it.

    Attributes:
        view: None where the store cannot be read or was never written.
        problems: those of the whole store.

    Raises:
        KeyRingError: the ring is not this store's.
    """

    def __init__(
        self,
        audited: AuditedStore,
        chunks: Sequence[str],
        *,
        incremental: bool,
        known_notes: Sequence[str] = (),
        clock: Clock = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.audited = audited
        self.view, self.problems = audited.view(chunks, known_notes, incremental=incremental)
        self._chunk = ChunkVerifier(audited, incremental=incremental, clock=clock)

    def each(
        self,
        chunks: Sequence[str],
        then: Callable[[ChunkFindings], Result],
        *,
        whole: Collection[str] = (),
        concurrency: int = CONCURRENCY,
    ) -> Iterator[Result]:
        """What `then` makes of each chunk's findings: in the order of `chunks`, those that were looked at again last.

        Args:
            chunks: among those that the view was opened for.
            then: called once a chunk, in the threads that verify.
            whole: chunks to read whole, however little changed.
            concurrency: chunks at once, on a store that is not local.

        Raises:
            KeyRingError: the key ring can no longer be read.
        """
        threads = at_once(self.audited.store.objects, concurrency)
        waiting: dict[str, Mapping[str, int]] = {chunk: {} for chunk in chunks}
        view = self.view
        for look, pause in enumerate((*_LOOKS_AGAIN_AFTER_S, None)):
            work = self._looking(view, dict(waiting), then, whole, first=look == 0, last=pause is None)
            for chunk, recorded, result in overlapped(work, list(waiting), threads):
                if recorded is None:
                    del waiting[chunk]
                    yield from result
                else:
                    waiting[chunk] = recorded
            if not waiting or pause is None:
                return
            time.sleep(pause)
            view = self.audited.view_again(list(waiting), self.view)

    def _looking(
        self,
        view: View | None,
        before: Mapping[str, Mapping[str, int]],
        then: Callable[[ChunkFindings], Result],
        whole: Collection[str],
        *,
        first: bool,
        last: bool,
    ) -> Callable[[str], tuple[str, Mapping[str, int] | None, list[Result]]]:
        """One look at a chunk: what was recorded of whom, if it is to be looked at again, else what `then` made."""

        def look(chunk: str) -> tuple[str, Mapping[str, int] | None, list[Result]]:
            found = self._guarded(view, chunk, whole=chunk in whole, last=last)
            if found is None:
                return chunk, {}, []
            recorded = found.recorded()
            still = not first and all(not moved(one, before[chunk], recorded) for one in recorded)
            if recorded and not still and not last:
                return chunk, recorded, []
            if recorded:
                found.settle(before[chunk])
            return chunk, None, [then(found)]

        return look

    def _guarded(self, view: View | None, chunk: str, *, whole: bool, last: bool) -> ChunkFindings | None:
        """The chunk's findings, whatever goes wrong in it; None: look again, under a fresh view."""
        if view is None:
            return unreadable(chunk, "not verified: the store could not be read")
        try:
            return self._chunk.verify(view, chunk, whole=whole)
        except ViewMovedError:
            return unreadable(chunk, "checkpoints kept being written while it was looked at") if last else None
        except (ConfigurationError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - Polars' panics are no Exceptions, and none may hide other chunks
            return unreadable(chunk, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
