"""The pages by keyboard alone, without scripts, under attack; and whether what checks them sees what is wrong."""

from __future__ import annotations

import pytest
from chromium import Open, Window
from issuer import PASSWORD, Service
from party import WIDE, Party

pytestmark = [pytest.mark.service, pytest.mark.once, pytest.mark.browser]
INJECT = """async () => {
  const blocked = [], here = document.body
  document.addEventListener('securitypolicyviolation', event => blocked.push(event.effectiveDirective))
  const add = (tag, values) => here.appendChild(Object.assign(document.createElement(tag), values))
  add('script', {textContent: 'document.title = "harm"'})
  add('style', {textContent: 'body { display: none }'})
  add('img', {src: 'https://evil.example.org/'})
  add('iframe', {src: 'https://evil.example.org/'})
  add('form', {action: 'https://evil.example.org/'}).submit()
  for (let i = 0; i < 100 && blocked.length < 5; i++) await new Promise(resolve => setTimeout(resolve, 20))
  return blocked
}"""
HARM = {
    "document.querySelector('label').remove()": "1280 px, light: label: ",
    "document.querySelector('h1').style.color = '#ccc'": "1280 px, light: color-contrast: ",
    "document.querySelector('h1').style.background = '#fff'": "320 px, dark: color-contrast: ",
    "document.querySelector('main').style.width = '700px'": "scrolls sideways at 360 px",
    "document.querySelector('button').style.outline = 'none'": "the focus is not seen: <button",
    "document.querySelector('form').style.cssText = 'display: flex; flex-direction: column-reverse'": "the order of the keys",
    "console.error('harm')": "console: harm",
    "fetch('http://127.0.0.1:9/').catch(() => 0)": "violates the document's Content Security Policy",
}


def test_with_the_keyboard_alone(service: Service, open_window: Open, gallery: Party) -> None:
    """From the log-in to the code, and a device: no mouse, and no click by a program either."""
    window = open_window()
    keys = window.page.keyboard
    window.open(gallery.url(scope=WIDE))
    type_first(window, "username", "dagmar")
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    window.page.wait_for_url("**/authorize/**")
    tab_to(window, "Allow")
    keys.press("Space")
    window.page.wait_for_url(f"{gallery.back}?code=**")
    started = service.begin()
    window.open(started["verification_uri"])
    type_first(window, "user_code", started["user_code"])
    keys.press("Enter")
    window.page.wait_for_url("**user_code=**")
    tab_to(window, "Deny")
    keys.press("Enter")
    window.page.wait_for_url("**/done/**")
    assert service.redeem(started).body["error"] == "access_denied"


def type_first(window: Window, field: str, text: str) -> None:
    """Type where the focus is by itself."""
    window.page.wait_for_function("name => document.activeElement.name === name", arg=field)
    window.page.keyboard.type(text)


def tab_to(window: Window, name: str) -> None:
    for _ in range(10):
        window.page.keyboard.press("Tab")
        if window.page.evaluate("document.activeElement.textContent") == name:
            return
    raise AssertionError(f"the tab key does not come by {name}: {window.text}")


@pytest.mark.parametrize("javascript", [False, True])
def test_without_javascript(open_window: Open, gallery: Party, javascript: bool) -> None:
    """The one script there is presses a button, which is there for whoever runs none."""
    window = open_window(javascript=javascript)
    window.open(gallery.url(scope=WIDE, response_mode="form_post"))
    window.log_in("dagmar")
    window.press("Allow")
    if not javascript:
        assert "Go on to Plot gallery" in window.text
        window.press("Go on")
    window.page.wait_for_url(gallery.back)
    assert "POST /back" in window.text


def test_policy_stops_what_is_not_ours(service: Service, open_window: Open) -> None:
    """As if something had got into the page: scripts, styles, pictures, frames and forms to elsewhere do nothing."""
    window = open_window()
    window.open(f"{service.issuer}/login/")
    blocked = window.page.evaluate(INJECT)
    assert sorted(blocked) == ["form-action", "frame-src", "img-src", "script-src-elem", "style-src-elem"]
    assert len(window.faults) >= len(blocked)
    window.faults.clear()  # each of them is told on the console


def test_the_checker_checks(service: Service, open_window: Open) -> None:
    """A page with all that must not be is refused for each of it."""
    window = open_window()
    window.open(f"{service.issuer}/login/")
    for harm in HARM:
        window.page.evaluate(harm)
    with pytest.raises(AssertionError) as error:
        window.look("harmed", "Log in", "Register")
    for fault in HARM.values():
        assert fault in str(error.value)
    assert "does not say: Register" in str(error.value)
    window.faults.clear()
