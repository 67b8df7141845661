"""A real browser on decisions, erasures and a dossier: one story, whose tests follow each other."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from subject_pipeline.lifecycle.dossier.writing import write_dossier
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline_tests.helpers.decisions import line
from subject_pipeline_tests.real.browser import WIDTH, Browser, browser_on, executable
from subject_pipeline_tests.real.dagster_stack import ALL_PARTITIONS, dagster_stack

pytestmark = pytest.mark.real

PEOPLE = 300
HELD, LEAVING, STAYING = (f"WORKER-{100_001 + number}" for number in range(3))
HOSTILE = '<img src="https://example.com/x" onerror="document.title=\'run\'">'
ORDERS = [
    line("hold_placed", HELD, decision_id="d-1"),
    line("erasure_ordered", HELD, decision_id="d-2"),
    line("erasure_ordered", LEAVING, decision_id="d-3"),
    line("consent_given", STAYING, decision_id="d-4", reason=HOSTILE),
    line("unrestricted", STAYING, decision_id="d-5"),  # nobody is restricted: rejected
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser on a stack of this module's own, whose people are registered."""
    executable()
    with dagster_stack(tmp_path_factory.mktemp("life"), people=PEOPLE) as stack, browser_on(stack) as opened:
        stack.succeed(stack.launch("register_workers", tags=ALL_PARTITIONS))
        yield opened


def materialized(browser: Browser, job: str) -> None:
    """Launch a job from its own page, and wait for its run."""
    browser.open(f"/locations/subject_pipeline/jobs/{job}")
    button = browser.page.get_by_role("button", name=re.compile("Materialize")).first
    browser.stack.succeed(browser.launch(button))


def shown(browser: Browser, asset: str, **numbers: int) -> None:
    """The asset's page shows these numbers, and names nobody."""
    browser.open(f"/assets/{asset}")
    for name, number in numbers.items():
        row = browser.page.get_by_role("row", name=re.compile(rf"^{name} .*\b{number}$"))
        expect(row.first).to_be_visible()
    names_nobody(browser)


def names_nobody(browser: Browser) -> None:
    """Nothing on the open page is an id."""
    assert "WORKER-" not in browser.page.locator("body").inner_text()


def test_a_file_of_decisions_is_applied_from_the_page(browser: Browser) -> None:
    """The job's own page takes what waits in the inbox; what was rejected is a red check and a path, and no id."""
    inbox = browser.stack.store_folder / "inbox" / "decisions"
    inbox.mkdir(parents=True)
    (inbox / "monday.jsonl").write_text("".join(f"{json.dumps(order)}\n" for order in ORDERS), encoding="utf-8")

    materialized(browser, "apply_decisions")

    shown(browser, "decisions", files=1, applied=4, already_applied=0, rejected=1)
    (dead_letter,) = (browser.stack.store_folder / "dead_letters").rglob("*.json*")
    path = dead_letter.relative_to(browser.stack.store_folder).as_posix()
    expect(
        browser.page.get_by_role("row", name=re.compile("^dead_letters ")).filter(has_text=path).first
    ).to_be_visible()
    browser.open_check("decisions", "nothing_rejected")
    expect(browser.page.get_by_text("Failed", exact=True).first).to_be_visible()
    names_nobody(browser)


def test_what_waits_is_counted_beside_it(browser: Browser) -> None:
    """By the same run."""
    shown(browser, "subject_reviews", subjects=PEOPLE, held=1, ordered=2, restricted=0)


def test_what_is_ordered_is_carried_out_from_the_page(browser: Browser) -> None:
    """Whom no hold keeps; the other waits, which is no reason for a red check."""
    materialized(browser, "carry_out_erasures")

    shown(browser, "erasures", erased=1, held=1, refused=0, certificates_pending=1)
    browser.open_check("erasures", "erasures_done")
    expect(browser.page.get_by_text("Passed", exact=True).first).to_be_visible()
    names_nobody(browser)
    assert SubjectRegistry(browser.stack.store).count() == PEOPLE - 1


def test_a_dossier_opens_by_itself_and_runs_nothing_that_is_in_it(browser: Browser) -> None:
    """One page that asks nobody for anything; whatever was written about the person is shown as text."""
    stack = browser.stack
    out = stack.store_folder.parent / "dossier"
    write_dossier(stack.store, STAYING, out, actor="privacy desk")
    asked: list[str] = []
    page = browser.page.context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto((out / "index.html").as_uri())
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    body = page.locator("body").inner_text()
    assert STAYING in body
    assert HOSTILE in body
    assert HELD not in body
    assert page.title() != "run"
    assert page.locator("img[src^=http]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    page.close()


def test_the_page_asked_nobody_else(browser: Browser) -> None:
    """Through all of this the browser spoke to the web server alone."""
    assert browser.outside == []
