"""Debian's chromium, driven by Playwright, on the Dagster page; and pictures of what it sees."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import Dialog, Locator, Page, expect, sync_playwright

from subject_pipeline_tests.real.dagster_stack import CHUNKS, DagsterStack

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH, HEIGHT = 1400, 1000
PATIENCE_MS = 60_000
LARGEST = 200_000
"""Bytes of a picture; they are kept in the repository."""


@dataclass
class Browser:
    """One browser page on a stack.

    Attributes:
        page: Playwright's page.
        outside: what was asked of anybody but the stack's own web server.
        pictures: where pictures go; None: none are taken.
    """

    page: Page
    stack: DagsterStack
    pictures: Path | None
    outside: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Open a page of the web server, without notices that an earlier page left."""
        self.page.goto(f"{self.stack.url}{path}")

    def open_graph(self, groups: list[str]) -> Locator:
        """Open the asset graph with these groups unfolded; gives its drawing."""
        self.open(f"/asset-groups?expanded={quote(','.join(f'global@global:{group}' for group in groups))}")
        drawing = self.page.locator("svg").filter(has_text="candidate_chunks").last
        drawing.wait_for()
        return drawing

    def open_partition(self, asset: str, partition: str) -> None:
        """Open one partition of an asset."""
        self.open(f"/assets/{asset}?view=partitions&partition={partition}")
        expect(self.page.get_by_role("button", name="View all historical events (")).to_be_enabled()

    def open_check(self, asset: str, check: str) -> None:
        """Open one check of an asset."""
        self.open(f"/assets/{asset}?view=checks&checkDetail={check}")
        expect(self.page.get_by_text("Latest execution")).to_be_visible()

    def choose(self, partition: str | None) -> Locator:
        """Ask for a materialization on the open page, and choose one partition or all; gives the dialog."""
        dialog = self.page.get_by_role("dialog").filter(has_text="Partition selection").first
        self._press(self.page.get_by_role("button", name=re.compile(r"Materialize.*…")), dialog)
        if partition is None:
            dialog.get_by_role("button", name="All", exact=True).click()
            expect(dialog.get_by_text(f"{CHUNKS} partitions", exact=True)).to_be_visible()
        else:
            dialog.get_by_text("Select a partition or create one").click()
            self.page.get_by_placeholder("Filter partitions").fill(partition)
            self.page.get_by_role("menuitem", name=partition).click()
            self.page.keyboard.press("Escape")
            expect(dialog.get_by_text("1 partition", exact=True)).to_be_visible()
        return dialog

    def launch(self, button: Locator) -> str:
        """Press a button that launches; the run's or backfill's id, as the page's notice has it."""
        notice = self.page.get_by_role("region", name="Notifications").get_by_role("link", name="View").first
        self._press(button, notice)
        address = notice.get_attribute("href")
        assert address is not None
        return address.rpartition("/")[2]

    def launch_chosen(self, dialog: Locator) -> str:
        """Launch what a dialog has chosen."""
        return self.launch(dialog.get_by_role("button", name=re.compile(r"Launch (backfill|\d+ run)")))

    def _press(self, button: Locator, expected: Locator) -> None:
        """Press a button that the page may ask to confirm, as where a source was never materialized."""
        button.click()
        sure = self.page.get_by_role("button", name="Confirm", exact=True)
        expected.or_(sure).first.wait_for()
        if sure.is_visible():
            sure.click()
            expected.wait_for()

    def numbers(self) -> dict[str, str]:
        """Key and value of each row of the tables that the page shows."""
        rows = self.page.get_by_role("row").filter(has=self.page.get_by_role("cell")).all()
        cells = [row.get_by_role("cell").all_inner_texts() for row in rows]
        return {texts[0].strip(): texts[1].strip() for texts in cells if len(texts) > 1}

    def picture(self, name: str, *, height: int = 900) -> None:
        """Keep what the page shows, without notices and with nothing that still turns."""
        self.page.wait_for_load_state("networkidle")
        expect(self.page.get_by_role("region", name="Notifications").get_by_role("listitem")).to_have_count(0)
        if self.pictures is not None:
            shot = self.page.screenshot(
                animations="disabled", caret="hide", clip={"x": 0, "y": 0, "width": WIDTH, "height": height}
            )
            keep(shot, self.pictures / f"{name}.png")


def keep(shot: bytes, file: Path) -> None:
    """Write a picture in few colours, which text and lines do not need more of."""
    with Image.open(BytesIO(shot)) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
    assert file.stat().st_size < LARGEST, f"{file.name} has {file.stat().st_size:,} bytes"


def executable() -> str:
    """Debian's chromium; the test is skipped where it is not installed, and fails where CI is set."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        reason = "no chromium is installed: run scripts/install_real_parts.sh browser"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def browser_on(stack: DagsterStack) -> Iterator[Browser]:
    """A browser on a stack; pictures go to the folder that $SCREENSHOTS names."""
    folder = os.environ.get("SCREENSHOTS")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        context = chromium.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB", timezone_id="UTC", reduced_motion="reduce"
        )
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        browser = Browser(context.new_page(), stack, Path(folder) if folder else None)
        if browser.pictures is not None:
            browser.pictures.mkdir(parents=True, exist_ok=True)

        def note(request: Any) -> None:
            if not request.url.startswith((f"{stack.url}/", "blob:", "data:")):
                browser.outside.append(request.url)

        def refuse(dialog: Dialog) -> None:
            dialog.dismiss()

        browser.page.on("request", note)
        browser.page.on("dialog", refuse)
        browser.open("/asset-groups")
        # Room for what the pictures are about.
        browser.page.get_by_role("button", name="Hide navigation").click()
        yield browser
        chromium.close()
