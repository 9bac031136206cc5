"""A person at a real browser (Debian's Chromium by Playwright), and what every page they come to must stand up to."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import javascript
from issuer import PASSWORD
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

EXECUTABLE = "/usr/bin/chromium"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS: tuple[tuple[int, int, Literal["light", "dark"]], ...] = (  # px; at 320 WCAG 1.4.10 still wants one column
    (320, 640, "dark"),
    (360, 740, "light"),
    (1280, 800, "light"),
)
AXE = """async tags => (await axe.run({runOnly: tags})).violations.map(
  each => `${each.id}: ${each.help}: ${each.nodes.map(node => node.html).join(' ')}`)"""
# every stop of the tab key, in the order of the document, and whether the next lies right of or below the one before
STOPS = """() => {
  const stops = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex]')]
    .filter(stop => stop.getClientRects().length)  // of what is shown
  const boxes = stops.map(stop => stop.getBoundingClientRect())
  return {
    names: stops.map(stop => stop.outerHTML),
    ordered: boxes.every((box, i) => !i || box.top >= boxes[i - 1].bottom || box.left >= boxes[i - 1].right)}
}"""
FOCUSED = """() => {
  const stop = document.activeElement, style = getComputedStyle(stop), box = stop.getBoundingClientRect()
  return {
    name: stop === document.body ? '' : stop.outerHTML,
    seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
      && box.top >= -1 && box.bottom <= innerHeight + 1 && box.left >= 0 && box.right <= innerWidth}
}"""


@cache
def read_axe() -> str:
    """The source of axe-core, of the version in the lock file."""
    javascript.install()
    return (javascript.MODULES / "axe-core" / "axe.min.js").read_text()


class Window:
    """One person's browser window; `faults` is what went wrong in it since it was opened."""

    def __init__(self, page: Page, folder: Path, *homes: str) -> None:
        self.page, self.folder, self.homes = page, folder, homes
        self.faults: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._watch)

    def _hear(self, message: ConsoleMessage) -> None:
        # Chromium puts the status of a page that is itself an error on the console, like one of something it loads
        own = message.location["url"] == self.page.url and "the server responded with a status of" in message.text
        if message.type in ("error", "warning") and not own:
            self.faults.append(f"console: {message.text}")

    def _watch(self, request: Request) -> None:
        if "://".join(urllib.parse.urlsplit(request.url)[:2]) not in self.homes:
            self.faults.append(f"request to {request.url}")

    @property
    def text(self) -> str:
        """What is to be read on the page."""
        return self.page.locator("body").inner_text()

    def open(self, url: str) -> int:
        """Go to an address; returns the status."""
        answer = self.page.goto(url)
        assert answer is not None
        return answer.status

    def fill(self, **values: str) -> None:
        """Type into the fields with these names."""
        for name, value in values.items():
            self.page.locator(f"[name={name}]").fill(value)

    def press(self, name: str) -> None:
        """Press the button or link of that name, and wait for what comes."""
        self.page.get_by_role("button", name=name, exact=True).or_(self.page.get_by_role("link", name=name, exact=True)).click()
        self.page.wait_for_load_state()

    def log_in(self, name: str, password: str = PASSWORD) -> None:
        """On the page that asks for it."""
        self.fill(username=name, password=password)
        self.press("Log in")

    def look(self, name: str, *texts: str) -> None:
        """Check the page as it stands, on which these texts are to be read; pictures of it are kept under `name`."""
        found = [f"does not say: {text}" for text in texts if text not in self.text] + self._try_keys()
        for width, height, scheme in VIEWS:
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": width, "height": height})
            if self.page.evaluate("document.documentElement.scrollWidth") > width:
                found.append(f"scrolls sideways at {width} px")
            if width in (VIEWS[0][0], VIEWS[-1][0]):  # both schemes, and both grounds that texts stand on
                found += [f"{width} px, {scheme}: {fault}" for fault in self.ask_axe()]
            self.page.screenshot(path=self.folder / f"{name}-{width}-{scheme}.png", full_page=True)
        if found or self.faults:
            raise AssertionError("\n".join([name, *found, *self.faults, self.text]))

    def ask_axe(self) -> list[str]:
        """What axe has against the page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(read_axe())
        found: list[str] = self.page.evaluate(AXE, TAGS)
        return found

    def _try_keys(self) -> list[str]:
        """The tab key comes by everything there is to press, in the order one reads, and one sees where it is."""
        stops = self.page.evaluate(STOPS)
        passed, unseen = [], []
        for _ in range(2 * len(stops["names"]) + 2):  # twice around: some page begins in its first field
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(FOCUSED)
            if focused["name"]:  # else it is the window itself, between the end and the beginning
                passed.append(focused["name"])
                unseen += [] if focused["seen"] else [f"the focus is not seen: {focused['name']}"]
        start = passed.index(stops["names"][0]) if stops["names"][0] in passed else 0
        ordered = stops["ordered"] and passed[start : start + len(stops["names"])] == stops["names"]
        return unseen if ordered else [*unseen, f"the order of the keys is not that of reading: {passed}"]


Open = Callable[..., Window]  # `open_window(name, javascript)` of conftest.py


@contextmanager
def launch() -> Iterator[Browser]:
    """A browser for the length of a `with`."""
    # it reaches this machine only, whatever a page or the browser itself would like
    options = [
        "--no-sandbox",
        "--host-resolver-rules=MAP *.farmlet.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=options)
        yield browser
        browser.close()
