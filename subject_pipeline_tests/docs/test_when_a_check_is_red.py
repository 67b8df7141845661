import re
from contextvars import Context
from pathlib import Path

import dagster as dg
import pytest

from subject_pipeline.alerts.alert import Alert, RedCheck, message
from subject_pipeline.alerts.delivery import ROUNDS, State
from subject_pipeline.definitions import defs
from subject_pipeline.orchestration.sensors.alerts import STATE_TAG, alert_sensors
from subject_pipeline.project.platform import Alerts, Automation

GUIDE = (Path(__file__).parents[2] / "docs" / "when_a_check_is_red.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def checks() -> set[dg.AssetCheckKey]:
    """Every check that the code location defines."""
    # In a context of its own: Dagster looks there for an instance, and an earlier test may have left a closed one.
    return Context().run(lambda: set(defs().resolve_asset_graph().asset_check_keys))


def _sections() -> dict[str, str]:
    parts = re.split(r"^### `(\w+)`$", GUIDE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_guide_explains_every_check_and_no_other(checks: set[dg.AssetCheckKey]) -> None:
    """Each check of the definitions has a section of its own; no section is about one that is no more."""
    assert set(_sections()) == {key.name for key in checks}


def test_every_section_says_what_to_do() -> None:
    """Each has its severity, what to look at, what to do first and how it turns green again."""
    for name, text in _sections().items():
        assert text.strip().startswith(("Error.", "Warn.")), name
        for part in ("**Look at**", "**First**", "**Green again**"):
            assert part in text, (name, part)


def test_every_asset_with_checks_has_a_chapter(checks: set[dg.AssetCheckKey]) -> None:
    """Named as its page is."""
    assert {key.asset_key.path[-1] for key in checks} == set(re.findall(r"^## `(\w+)`", GUIDE, flags=re.MULTILINE))


def test_the_guide_tells_the_numbers_that_hold() -> None:
    """Limits, rounds, states and sensors are those of the code."""
    operations = Automation()
    for name in ("full_verification_within_days", "checkpoint_within_days", "consent_pending_days"):
        assert f"`{name}` ({getattr(operations, name):g})" in GUIDE
    assert len(re.findall(r"\d+", GUIDE.partition("then after about ")[2].partition(" minutes")[0])) == ROUNDS - 1
    assert STATE_TAG in GUIDE
    assert all(f"`{state.value}`" in GUIDE for state in State)
    assert all(f"`{sensor.name}`" in GUIDE for sensor in alert_sensors(Alerts(), automation=False))


def test_the_guide_shows_every_field_of_a_message() -> None:
    """What a receiver can read is all there."""
    red = RedCheck("a", "c", "error", {})
    shown = message(
        Alert(job="j", run="r", failed=False, partitions=None, reason=None, steps=(), checks=[red], link="l")
    )
    assert all(f'"{field}": ' in GUIDE for field in shown)
