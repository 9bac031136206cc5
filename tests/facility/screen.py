"""A member at a real browser on the facility's own pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from person import Person
from playwright.sync_api import BrowserContext, Page, sync_playwright

EXECUTABLE = "/usr/bin/chromium"


@contextmanager
def open_screen(person: Person) -> Iterator[BrowserContext]:
    """Chromium with the cookies that the member has. It reaches the facility only."""
    options = ["--no-sandbox", f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE *.{person.sandbox.domain}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=options)
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(120_000)
        for one in person.browser.cookies:
            where = {"domain": one.domain.removesuffix(".local"), "path": one.path, "secure": one.secure}
            context.add_cookies([{"name": one.name, "value": str(one.value), **where}])  # type: ignore[list-item,typeddict-item]
        yield context
        browser.close()


def keep(page: Page, name: str) -> None:
    """A picture, where somebody wants pictures."""
    if folder := os.environ.get("FARMLET_SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"{name}.png"))
