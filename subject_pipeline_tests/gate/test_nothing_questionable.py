"""Calls through the gate while another process decides: verification finds no access that should not have been."""

import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from subject_pipeline.changes.settling import settle
from subject_pipeline.errors import DeniedError, WithheldError
from subject_pipeline.gate import SubjectGate
from subject_pipeline_tests.gate.conftest import PEOPLE
from subject_pipeline_tests.gate.test_gate import record
from subject_pipeline_tests.helpers.audit_stores import assert_sound, rows_of
from subject_pipeline_tests.helpers.gated import POLICY, Gated

STRANGER = "W-9"


@pytest.mark.parametrize("calls", [192, pytest.param(10_000, marks=pytest.mark.real)])
def test_no_access_through_the_gate_is_questionable(gated: Gated, calls: int) -> None:
    """Whatever is asked, named in an answer, and decided meanwhile; nor does any stand after what forbids it.

    The first is what a verification says, with the leeway that a row shows; the second is stricter, and has none.
    """
    command = [sys.executable, "-m", "subject_pipeline_tests.helpers.deciding_process"]
    place = gated.place
    arguments = [str(place.folder), str(place.ring.path), str(calls), *PEOPLE]
    with (
        gated.open(POLICY + "max_age: 1s\n") as gate,
        subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as deciding,
    ):
        try:
            assert deciding.stdout is not None
            assert deciding.stdout.readline() == "begun\n"
            made: Counter[str] = Counter()
            with ThreadPoolExecutor(4) as pool:
                for seed in range(0, 16, 4):
                    chances = [random.Random(one) for one in range(seed, seed + 4)]  # noqa: S311 - a test's
                    made += sum(pool.map(lambda chance: _call(gate, chance, calls // 16), chances), Counter())
                    assert deciding.stdout.readline(), "nothing was decided"  # however slow that process is
        finally:
            deciding.communicate(timeout=60)
    assert deciding.returncode == 0
    assert made.total() == calls
    assert {"shown", "DeniedError", "WithheldError"} <= made.keys()
    settle(place.store, place.evidence())  # what the decider began and did not finish
    assert assert_sound(place).questionable == []
    _assert_nothing_after_what_forbids_it(rows_of(place.objects))


def _call(gate: SubjectGate, chance: random.Random, calls: int) -> Counter[str]:
    """Calls with random subjects, purposes and answers, and how they ended."""
    made: Counter[str] = Counter()
    for _ in range(calls):
        subjects = chance.sample([*PEOPLE, STRANGER], chance.randrange(3))
        numbers = chance.sample(range(1, 10), chance.randrange(1, 4))
        answer: Any = [record(number) for number in numbers] if chance.random() < 0.7 else record(numbers[0])
        try:
            permit = gate.before("read", subjects=subjects, purpose=chance.choice(["scheduling", "payroll"]))
            gate.after("read", answer, permit=permit)
            made["shown"] += 1
        except (DeniedError, WithheldError) as error:
            made[type(error).__name__] += 1
    return made


def _assert_nothing_after_what_forbids_it(rows: list[dict[str, Any]]) -> None:
    """By each chain's own order: an answer follows no last word that forbids it."""
    manifests: dict[str, dict[str, Any]] = {}
    for row in rows:
        subject = row["candidate_id"]
        if "decision" in row:
            manifests[subject] = {**manifests.get(subject, {}), **row["decision"]["changes"]}
        elif row["result"] == "success":
            said = manifests.get(subject, {})
            assert said.get("status", "active") == "active", row
            assert said.get("consent", {"general_pii": {"status": "given"}})["general_pii"]["status"] == "given", row
            assert row["ts"] >= said.get("updated_at", ""), row
        else:
            assert row["result"] == "denied"
            assert row["reason"] != "unreadable", row
