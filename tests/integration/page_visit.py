"""What a person does with the status page, in a real browser. Run by the Python of `tests.servers.chromium`:

python page_visit.py CHROMIUM OPTIONS URL OPERATE_TOKEN READ_TOKEN FOLDER

Ends with 0 if everything was as expected; screenshots are left in FOLDER.
"""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

WAIT_MS = 30_000
SIZES = {"wide": 1280, "phone": 390}


class Visit:
    """One browser on one daemon. Every page must be free of errors and no wider than its screen."""

    def __init__(self, browser: Browser, url: str, folder: Path) -> None:
        self._browser, self._url, self._folder = browser, url, folder
        self.errors: list[str] = []

    @contextmanager
    def page(self, token: str, scheme: str = "light", size: str = "wide", scripts: bool = True):
        context = self._browser.new_context(
            http_credentials={"username": "anybody", "password": token},
            color_scheme=scheme,
            viewport={"width": SIZES[size], "height": 800},
            java_script_enabled=scripts,
        )
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self._url)
        yield page
        context.close()

    def shot(self, page: Page, name: str) -> None:
        page.screenshot(path=self._folder / f"{name}.png", full_page=True)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= page.viewport_size["width"], f"{name} is {width} wide"


def looks_around(visit: Visit, token: str, scheme: str, size: str) -> None:
    """Overview, pipeline, run with a chain, and the failed one."""
    with visit.page(token, scheme, size) as page:
        expect(page.get_by_role("heading", name="Pipelines")).to_be_visible()
        visit.shot(page, f"overview-{scheme}-{size}")
        page.get_by_role("link", name="events", exact=True).click()
        expect(page.get_by_role("heading", level=1, name="events")).to_be_visible()
        visit.shot(page, f"pipeline-{scheme}-{size}")
        page.locator("a.c.loaded").first.click()
        expect(page.locator(".chain .box")).to_have_count(10)
        expect(page.locator(".chain .broken")).to_have_count(0)
        visit.shot(page, f"run-{scheme}-{size}")
        page.get_by_role("link", name="events", exact=True).click()
        page.locator("a.c.quarantined").first.click()
        expect(page.locator(".chain .broken")).to_contain_text("must equal")
        expect(page.get_by_text("<script>alert(1)</script>")).to_be_visible()
        visit.shot(page, f"broken-{scheme}-{size}")


def acts(visit: Visit, token: str, scripts: bool) -> None:
    """Pause, plan, confirm, resume, progress to the end; with scripts the page goes on by itself."""
    with visit.page(token, scripts=scripts) as page:
        page.get_by_role("link", name="clicks", exact=True).click()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("heading", name="clicks paused")).to_be_visible()
        pipeline = page.url
        page.get_by_label("From (UTC)").fill("2025-11-15T00:00:00")
        page.get_by_label("To (UTC)").fill("2025-11-15T02:00:00")
        page.get_by_role("button", name="Plan backfill").click()
        expect(page.get_by_role("heading", name="Load 2 windows again?")).to_be_visible()
        page.get_by_role("button", name="Load 2 windows").click()
        expect(page.get_by_text("0 of 2 runs")).to_be_visible()
        progress = page.url
        page.goto(pipeline)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile("^page-")).first).to_be_visible()
        page.goto(progress)
        done = page.get_by_text("2 of 2 runs")
        for _ in range(0 if scripts else 60):
            if done.is_visible():
                break
            page.wait_for_timeout(500)
            page.reload()
        expect(done).to_be_visible(timeout=WAIT_MS)
        if scripts:
            visit.shot(page, "backfill")


def only_looks(visit: Visit, token: str) -> None:
    with visit.page(token) as page:
        page.get_by_role("link", name="events", exact=True).click()
        expect(page.get_by_role("heading", name="Gaps")).to_be_visible()
        expect(page.locator("form[method=post]")).to_have_count(0)
        expect(page.get_by_role("button")).to_have_count(0)


def by_keyboard(visit: Visit, token: str) -> None:
    """The first stop leads past the head of the page."""
    with visit.page(token) as page:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


def main(*words: str) -> None:
    chromium, options, url, operate, read, folder = words
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options.split())
        visit = Visit(browser, url, Path(folder))
        looks_around(visit, operate, "light", "wide")
        looks_around(visit, operate, "dark", "wide")
        looks_around(visit, read, "dark", "phone")
        acts(visit, operate, scripts=True)
        acts(visit, operate, scripts=False)
        only_looks(visit, read)
        by_keyboard(visit, operate)
        browser.close()
    assert not visit.errors, visit.errors


if __name__ == "__main__":
    main(*sys.argv[1:])
