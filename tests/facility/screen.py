"""A member at a real browser on the facility's own pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from person import Person
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from host import docker

NAMES = ("head", "service", "monitoring", "sitetests", "notebooks")


@contextmanager
def open_screen(person: Person) -> Iterator[BrowserContext]:
    """Chromium with the cookies that the member has. It reaches the facility only.

    It is in the network of `service`: it gives up what it loads when an interface comes or goes, and on this host they do.
    """
    sandbox = person.sandbox
    # members' own names lead where the Hub's does: no DNS has them here
    hosts = [f"MAP {name}.{sandbox.domain} {name}.{sandbox.domain}" for name in NAMES]
    rules = [f"MAP *.notebooks.{sandbox.domain} notebooks.{sandbox.domain}", *hosts, "MAP * ~NOTFOUND"]
    options = ["--no-sandbox", f"--host-resolver-rules={', '.join(rules)}"]
    process = docker("inspect", "-f", "{{.State.Pid}}", sandbox.container("service"))
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        program = Path(folder) / "chromium"
        program.write_text(f'#!/bin/sh\nexec nsenter --net=/proc/{process}/ns/net /usr/bin/chromium "$@"\n')
        program.chmod(0o755)
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield bring(browser, person)
        browser.close()


def bring(browser: Browser, person: Person) -> BrowserContext:
    """A window with the cookies of this member alone."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(120_000)
    for one in person.browser.cookies:
        domain = one.domain.removesuffix(".local")
        host = one.name.startswith("__Host-")  # such a cookie has no domain
        where = {"url": f"https://{domain}/"} if host else {"domain": domain, "path": one.path, "secure": one.secure}
        context.add_cookies([{"name": one.name, "value": str(one.value), **where}])  # type: ignore[list-item,typeddict-item]
    return context


def keep(page: Page, name: str) -> None:
    """A picture, where somebody wants pictures."""
    if folder := os.environ.get("FARMLET_SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"{name}.png"))
