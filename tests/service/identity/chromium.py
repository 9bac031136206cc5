"""A person at a real browser (Debian's Chromium by Playwright), and what every page they come to must stand up to."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import javascript
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

EXECUTABLE = "/usr/bin/chromium"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS: tuple[tuple[int, int, Literal["light", "dark"]], ...] = (  # px; at 320 WCAG 1.4.10 still wants one column
    (320, 640, "light"),
    (360, 740, "dark"),
    (360, 740, "light"),
    (1280, 800, "light"),
)
JUDGE = """async tags => (await axe.run({runOnly: tags})).violations.map(
  each => `${each.id}: ${each.help}: ${each.nodes.map(node => node.html).join(' ')}`)"""
# every stop of the tab key, in the order of the document, and whether the next lies right of or below the one before
STOPS = """() => {
  const stops = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), summary, [tabindex]')]
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
      && box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth}
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
        if "{0}://{1}".format(*urllib.parse.urlsplit(request.url)) not in self.homes:
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

    def look(self, name: str, *texts: str) -> None:
        """Judge the page as it stands, on which these texts are to be read; pictures of it are kept under `name`."""
        assert all(text in self.text for text in texts), (texts, self.text)
        self._check_keys(name)
        for width, height, scheme in VIEWS:
            self.page.emulate_media(color_scheme=scheme)
            self.page.set_viewport_size({"width": width, "height": height})
            assert self.page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} scrolls sideways at {width} px"
            assert (name, width, scheme, self._judge()) == (name, width, scheme, [])
            self.page.screenshot(path=self.folder / f"{name}-{width}-{scheme}.png", full_page=True)
        assert not self.faults, (name, self.faults)

    def _judge(self) -> list[str]:
        """What axe has against the page."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(read_axe())
        found: list[str] = self.page.evaluate(JUDGE, TAGS)
        return found

    def _check_keys(self, name: str) -> None:
        """The tab key comes by everything there is to press, in the order one reads, and one sees where it is."""
        stops = self.page.evaluate(STOPS)
        assert stops["ordered"], name
        passed: list[str] = []
        for _ in range(2 * len(stops["names"]) + 2):  # twice around, for some page begins in its first field
            self.page.keyboard.press("Tab")
            focused = self.page.evaluate(FOCUSED)
            if focused["name"]:
                assert focused["seen"], (name, focused)
                passed.append(focused["name"])
        start = passed.index(stops["names"][0])
        assert passed[start : start + len(stops["names"])] == stops["names"], (name, passed)


@contextmanager
def launch() -> Iterator[Browser]:
    """A browser for the length of a `with`."""
    # it reaches this machine only, whatever a page or the browser itself would like
    options = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=options)
        yield browser
        browser.close()
