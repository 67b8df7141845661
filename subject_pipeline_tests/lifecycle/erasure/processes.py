"""What other processes do to a store of the tests: erase, hold, and be killed in between."""

import datetime as dt
import os
import signal
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from subject_pipeline.decisions.decision import Decision, Kind
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.erasure.erasing import Erasures
from subject_pipeline.lifecycle.erasure.group import Order
from subject_pipeline.manifests.commits import Commits
from subject_pipeline_tests.helpers.audit_stores import place_in


def erase_in(folder: Path, candidate_id: str) -> str:
    """Erase somebody; what became of them."""
    place = place_in(folder)
    done = Erasures(place.store, "eraser").erase([candidate_id], Order("eraser"))
    return "erased" if done.erased or done.already else "held" if done.held else str(done)


def hold_in(folder: Path, candidate_id: str, hold_id: str) -> str:
    """Place a hold; what became of it."""
    place = place_in(folder)
    now = format_time(dt.datetime.now(dt.UTC))
    decision = Decision(uuid.uuid4().hex, candidate_id, Kind.HOLD_PLACED, now, "counsel", hold_id=hold_id)
    (verdict,) = Decisions(place.store, "counsel").apply([decision])
    return verdict.reason or verdict.outcome


def killed_after(folder: Path, prefix: str, candidate_id: str) -> None:
    """Erase somebody, and be killed once something was written below a prefix, of the log the second segment."""
    place = place_in(folder)
    left = 2 if prefix == "audit/" else 1

    def around(operation: str, key: str, run: Callable[[], Any]) -> Any:
        nonlocal left
        result = run()
        if operation in {"create", "replace"} and key.startswith(prefix):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return result

    place.objects.around = around
    if prefix.startswith("subjects/"):
        real = Commits.settle

        def settle(self: Commits, *arguments: Any) -> Any:
            result = real(self, *arguments)
            os.kill(os.getpid(), signal.SIGKILL)
            return result

        Commits.settle = settle  # type: ignore[method-assign, assignment]
    Erasures(place.store, "eraser").erase([candidate_id], Order("eraser"))
