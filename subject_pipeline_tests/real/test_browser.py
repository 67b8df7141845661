"""A real browser on the page of a real web server: one story, whose tests follow each other."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from subject_pipeline.lifecycle.stored_findings import read_findings
from subject_pipeline.registry.subjects import SubjectRegistry
from subject_pipeline.samples.events import sample_events
from subject_pipeline_tests.real.browser import HEIGHT, WIDTH, Browser, browser_on, executable
from subject_pipeline_tests.real.dagster_stack import (
    ALL_PARTITIONS,
    PARTITIONS,
    DagsterStack,
    copy_project,
    dagster_stack,
    declare,
)
from subject_pipeline_tests.real.shared_stack import AGENTS, BAD_AGENT, FIRST_AGENT, agents

pytestmark = pytest.mark.real

PEOPLE, EVENTS = 3_000, 2_000
MANIFESTS, STAGING = "workers/subject_manifests", "workers/candidate_chunks"
ASSETS = "{ assetNodes { assetKey { path } groupName } }"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser on a stack of this module's own, which it will tamper with."""
    executable()
    folder = tmp_path_factory.mktemp("browser")
    project = copy_project(folder, PEOPLE)
    declare(project, "agents", agents(), key_column="id")
    with dagster_stack(folder, project=project) as stack, browser_on(stack) as opened:
        yield opened


def succeeded(stack: DagsterStack, launched: str) -> None:
    """Wait for a run that the page launched, or for the one run of a backfill."""
    if len(launched) == len("00000000-0000-0000-0000-000000000000"):
        stack.succeed(launched)
    else:
        assert stack.wait_for_runs_of(launched) == ["SUCCESS"]


def as_numbers(shown: dict[str, str], *names: str) -> dict[str, int]:
    """Numbers that the page shows."""
    return {name: int(shown[name].replace(",", "")) for name in names}


def test_the_graph_shows_every_asset(browser: Browser) -> None:
    """What GraphQL lists is what is drawn, in groups, from sources to the report."""
    nodes = browser.stack.ask(ASSETS)["assetNodes"]
    # What lies outside the window is not drawn.
    browser.page.set_viewport_size({"width": 2 * WIDTH, "height": 2 * HEIGHT})
    groups = sorted({node["groupName"] for node in nodes})
    drawing = browser.open_graph(groups)
    expect(drawing.get_by_text("audit_checkpoint", exact=True)).to_be_visible()
    drawn: list[str] = drawing.evaluate(
        "drawing => [...drawing.querySelectorAll('*')].filter(one => !one.children.length).map(one => one.textContent)"
    )
    for name in {node["assetKey"]["path"][-1] for node in nodes}:
        wanted = sum(node["assetKey"]["path"][-1] == name for node in nodes)
        assert drawn.count(name) == wanted, f"{name} is drawn {drawn.count(name)} times"
    assert {"candidate_chunks", "subject_manifests", "audit_log", "audit_verification", "compliance_report"} <= set(
        drawn
    )
    browser.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    browser.open_graph(groups)  # which fits it into the window again
    browser.picture("asset_graph", height=HEIGHT)


def test_one_partition_launched_from_the_page(browser: Browser) -> None:
    """One partition is registered; its own numbers are on its page, and are those of the store."""
    browser.open(f"/assets/{STAGING}")
    succeeded(browser.stack, browser.launch(browser.page.get_by_role("button", name="Materialize").first))
    browser.open(f"/assets/{MANIFESTS}")
    dialog = browser.choose("chunk-07")
    browser.picture("launch_one_partition", height=700)
    succeeded(browser.stack, browser.launch_chosen(dialog))

    browser.open_partition(MANIFESTS, "chunk-07")
    shown = as_numbers(browser.numbers(), "attempted", "inserted", "skipped", "failed")
    assert shown["inserted"] == shown["attempted"] == SubjectRegistry(browser.stack.store).count() > 0
    expect(browser.page.get_by_text(f"Missing ({len(PARTITIONS) - 1})")).to_be_visible()
    expect(browser.page.get_by_text("Materialized", exact=True)).to_be_visible()


def test_all_partitions_launched_from_the_page(browser: Browser) -> None:
    """All partitions are green, the one that was there was skipped, and the checks' pages say so with numbers."""
    first = browser.stack.newest(MANIFESTS)["chunk-07"]["inserted"]
    browser.open(f"/assets/{MANIFESTS}")
    succeeded(browser.stack, browser.launch_chosen(browser.choose(None)))
    assert SubjectRegistry(browser.stack.store).count() == PEOPLE

    browser.open_partition(MANIFESTS, "chunk-07")
    expect(browser.page.get_by_text(f"Materialized ({len(PARTITIONS)})")).to_be_visible()
    assert as_numbers(browser.numbers(), "inserted", "skipped") == {"inserted": 0, "skipped": first}
    browser.picture("partition_again", height=780)

    browser.open_check(MANIFESTS, "counts_add_up")
    expect(browser.page.get_by_text("Passed", exact=True)).to_be_visible()
    expect(browser.page.get_by_text("Succeeded", exact=True)).to_have_count(3)
    shown = as_numbers(browser.numbers(), "attempted", "inserted", "skipped", "staged_rows")
    assert shown == {"attempted": PEOPLE, "inserted": PEOPLE - first, "skipped": first, "staged_rows": PEOPLE}
    browser.picture("checks_green", height=710)


def test_events_are_ingested_verified_and_anchored_from_the_page(browser: Browser) -> None:
    """The jobs' own pages ingest the inbox's events, then verify all partitions, sign a checkpoint and report."""
    inbox = browser.stack.store_folder / "inbox"
    inbox.mkdir(exist_ok=True)
    sample_events(EVENTS, inbox / "events.jsonl", until=dt.datetime.now(dt.UTC))
    jobs = "/locations/subject_pipeline/jobs"
    browser.open(f"{jobs}/ingest_access_events")
    succeeded(browser.stack, browser.launch(browser.page.get_by_role("button", name=re.compile("Materialize")).first))
    browser.open("/assets/audit_log")
    expect(browser.page.get_by_role("row", name="appended ").first).to_contain_text(str(EVENTS))

    browser.open(f"{jobs}/verify_checkpoint_and_report")
    succeeded(browser.stack, browser.launch_chosen(browser.choose(None)))
    browser.open_check("audit_verification", "chains_intact")
    expect(browser.page.get_by_text("Passed", exact=True)).to_be_visible()
    expect(browser.page.get_by_text("Failed", exact=True)).to_have_count(0)
    browser.open("/assets/audit_checkpoint")
    expect(browser.page.get_by_role("row", name=re.compile("^root "))).to_be_visible()


def test_the_report_opens_by_itself(browser: Browser) -> None:
    """The report in the store is one page that asks nobody for anything, with the store's own numbers."""
    (report,) = (browser.stack.store_folder / "reports").glob("*/report.html")
    asked: list[str] = []
    page = browser.page.context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert f"{PEOPLE:,}" in page.locator("body").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
    with_pictures = Browser(page, browser.stack, browser.pictures)
    with_pictures.picture("report", height=890)
    page.close()
    browser.open("/assets/compliance_report")
    expect(browser.page.get_by_role("row").filter(has_text="report").first).to_be_visible()


def test_re_execution_from_failure_by_the_page(browser: Browser) -> None:
    """A run that the store failed is re-executed from failure by its page's menu, and stages nothing again."""
    stack = browser.stack
    stack.succeed(stack.launch("register_agents", tags={"dagster/partition": "chunk-1a"}))
    folder = stack.store_folder / "subjects" / "chunk=chunk-1a"
    kept = folder.rename(folder.with_name(".kept"))
    folder.write_bytes(b"")
    try:
        failed = stack.launch("register_agents", tags=ALL_PARTITIONS)
        assert stack.wait(failed) == "FAILURE"
    finally:
        folder.unlink()
        kept.rename(folder)
    staged = len(stack.materializations("agents/candidate_chunks"))
    browser.open(f"/runs/{failed}")
    expect(browser.page.get_by_text("Errored (1)")).to_be_visible()
    menu = browser.page.get_by_role("button", name="Re-execute all").locator("xpath=following::button[1]")
    menu.click()
    again = browser.page.get_by_role("menuitem", name="From failure")
    expect(again).to_be_enabled()
    browser.picture("re_execute_from_failure", height=340)
    again.click()
    browser.page.wait_for_url(lambda url: failed not in url)
    new = browser.page.url.rpartition("/")[2].partition("?")[0]
    stack.succeed(new)
    assert len(stack.materializations("agents/candidate_chunks")) == staged
    assert sorted(stack.newest("agents/subject_manifests")) == PARTITIONS


def test_one_partition_of_all_has_a_bad_candidate(browser: Browser) -> None:
    """Its page has its numbers and says how to print who it is, and so does the check; neither names anybody."""
    numbers = browser.stack.newest("agents/subject_manifests")
    (bad,) = [partition for partition, counts in numbers.items() if counts["failed"]]
    browser.open_partition("agents/subject_manifests", bad)
    shown: Any = browser.numbers()
    assert as_numbers(shown, "failed") == {"failed": 1}
    (listed,) = named(browser, "agents/subject_manifests")
    assert (listed["candidate_id"], FIRST_AGENT in listed["reason"]) == (BAD_AGENT, True)
    browser.picture("bad_candidate_partition", height=940)
    browser.open_check("agents/subject_manifests", "no_collisions")
    assert named(browser, "agents/subject_manifests") == [listed]
    browser.picture("bad_candidate_check", height=690)
    assert sum(counts["failed"] for counts in numbers.values()) == 1
    assert SubjectRegistry(browser.stack.store).count() == PEOPLE + AGENTS - 1


def named(browser: Browser, asset: str) -> list[dict[str, Any]]:
    """What the list says whose command the page shows; the page itself names nobody."""
    command = browser.page.get_by_text(
        re.compile(rf"subject-pipeline findings show findings/\S+/{asset}\.parquet")
    ).last
    expect(command).to_be_visible()
    found = read_findings(browser.stack.store.objects, str(command.text_content()).rpartition(" ")[2])
    shown = browser.page.content()
    assert not any(row["candidate_id"] in shown for row in found if row["candidate_id"])
    return found


def tamper(stack: DagsterStack) -> str:
    """Flip one bit of one row in the store, as somebody without the keys might; returns whose row it is."""
    segment = min((stack.store_folder / "audit").glob("*/000000000000.jsonl"))
    stored = bytearray(segment.read_bytes())
    at = stored.rindex(b'"actor":"') + len(b'"actor":"')
    line = stored[stored.rindex(b"\n", 0, at) + 1 : stored.index(b"\n", at)]
    stored[at] ^= 1
    segment.write_bytes(stored)
    candidate_id: str = json.loads(line)["row"]["candidate_id"]
    return candidate_id


def test_a_flipped_bit_turns_a_check_red(browser: Browser) -> None:
    """After one bit of one row is flipped, a verification from the page is red, and its list names the subject."""
    subject = tamper(browser.stack)
    browser.open("/assets/audit_verification")
    succeeded(browser.stack, browser.launch_chosen(browser.choose(None)))
    browser.open_check("audit_verification", "chains_intact")
    assert subject in {row["candidate_id"] for row in named(browser, "audit_verification")}
    expect(browser.page.get_by_text("bad_mac", exact=True)).to_be_visible()
    expect(browser.page.get_by_text("Failed", exact=True).first).to_be_visible()
    browser.picture("check_red", height=780)


def test_the_page_asked_nobody_else(browser: Browser) -> None:
    """Through all of this the browser spoke to the web server alone."""
    assert browser.outside == []
