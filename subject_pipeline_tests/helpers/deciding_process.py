"""Decides at random about people, until its standard input ends; prints a line for each decision that was applied.

python -m subject_pipeline_tests.helpers.deciding_process STORE RING SEED ID...
"""

import datetime as dt
import itertools
import random
import sys
import threading
from pathlib import Path

from subject_pipeline.decisions.decision import parse_decision
from subject_pipeline.errors import ConflictError, IncompleteError
from subject_pipeline.formats.times import format_time
from subject_pipeline.keys.ring_file import KeyRingFile
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.store.opened import SubjectStore

_CONSENT = {"scope": "general_pii"}
_KINDS: list[tuple[str, dict[str, str]]] = [
    ("consent_withdrawn", _CONSENT),
    ("consent_given", _CONSENT),
    ("consent_given", _CONSENT),
    ("restricted", {}),
    ("unrestricted", {}),
    ("erasure_ordered", {}),
    ("erasure_cancelled", {}),
    ("erasure_cancelled", {}),
    ("interaction", {}),
]


def main() -> None:
    """Decide."""
    store, ring, seed, *people = sys.argv[1:]
    chance = random.Random(seed)  # noqa: S311 - a test's
    decisions = Decisions(SubjectStore.at(store, ring=KeyRingFile(Path(ring))), "decider")
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    _say("begun")
    for number in itertools.count():
        if ended.is_set():
            break
        kind, needed = chance.choice(_KINDS)
        version = {"version": str(number)} if kind == "consent_given" else {}
        order = {
            "decision_id": f"decision-{number}", "candidate_id": chance.choice(people), "kind": kind, "actor": "dpo",
            "ts": format_time(dt.datetime.now(dt.UTC)), **needed, **version,
        }  # fmt: skip
        try:
            (verdict,) = decisions.apply([parse_decision(order)])
            if verdict.outcome == "applied":
                _say(f"decision-{number}")
        except (ConflictError, IncompleteError):  # what is recorded is settled by the next
            pass
    decisions.close()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
