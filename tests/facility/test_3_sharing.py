"""A server at its member's own origin, and a colleague in it: real Caddy, Hub, proxy, JupyterLab and VS Code, in Chromium.

The facility file of this lane has `notebooks: {sharing: true}`. No DNS knows members' origins here, so the browser is told.
"""

from __future__ import annotations

import pytest
from notebooks import enter, join
from playwright.sync_api import Page
from sandbox import Sandbox, until
from screen import bring, keep, open_screen

pytestmark = [
    pytest.mark.facility,
    pytest.mark.lane("edit"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(900),
]
# whether a websocket to a terminal is open
TERMINAL = """async base => {
  const guard = document.cookie.match(/_xsrf=([^;]+)/)[1]
  const made = await fetch(base + 'api/terminals', {method: 'POST', headers: {'X-XSRFToken': guard}})
  window.ended = ''
  const socket = new WebSocket(base.replace('https', 'wss') + 'terminals/websocket/' + (await made.json()).name)
  socket.onclose = () => { window.ended = 'yes' }
  return await new Promise(done => { socket.onmessage = () => done('open'); setTimeout(() => done('none'), 30000) }) }"""


def open_editor(page: Page) -> None:
    page.locator(".jp-LauncherCard").filter(has_text="VS Code").wait_for()
    with page.context.expect_page() as opened:
        page.locator(".jp-LauncherCard").filter(has_text="VS Code").click()
    opened.value.locator(".explorer-folders-view").wait_for()
    keep(opened.value, "shared-vscode")
    opened.value.close()


def test_a_colleague_works_in_the_server_until_they_are_suspended(sandbox: Sandbox) -> None:
    solveig, ragnar = join(sandbox, "solveig"), join(sandbox, "ragnar")
    hub = enter(solveig)
    hub.start()
    assert hub.server == f"https://{solveig.name}.notebooks.{sandbox.domain}/user/{solveig.name}"
    enter(ragnar).log_in()
    with open_screen(solveig) as screen:
        assert screen.browser
        own, other = screen.new_page(), bring(screen.browser, ragnar).new_page()
        own.goto(f"{hub.server}/lab")
        open_editor(own)
        other.goto(f"{hub.server}/lab")
        other.get_by_text("You do not have permission").wait_for()
        own.goto(f"{hub.url}/hub/home")
        own.locator("[name=member]").fill(ragnar.name)
        own.get_by_role("button", name="Let in").click()
        own.get_by_text(f"{ragnar.name} may enter").wait_for()
        other.goto(f"{hub.server}/lab")
        other.get_by_role("button", name="Go on").click()
        other.locator(".jp-Launcher").wait_for()
        keep(other, "shared-lab")
        assert other.evaluate(TERMINAL, f"{hub.server}/") == "open"
        sandbox.run("user", "suspend", ragnar.name)
        until(lambda: other.evaluate("ended"), 20)
        assert own.evaluate("document.title") and other.goto(f"{hub.server}/api/contents").status in (403, 404)
    hub.stop()
