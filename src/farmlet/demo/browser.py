"""The member's browser, as far as plain forms go: cookies, hidden fields, buttons; our pages have no scripts."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from farmlet.errors import FarmletError

BUTTONS = {"submit", "image"}


@dataclass
class Button:
    """A submit button: what it sends (`name`, `value`) and what a person reads on it."""

    name: str
    value: str
    text: str = ""


@dataclass
class Form:
    """A form with the values it would send; `kinds` gives the input type of each field."""

    action: str
    method: str = "get"
    fields: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    buttons: list[Button] = field(default_factory=list)

    def names(self, kind: str) -> list[str]:
        return [name for name, each in self.kinds.items() if each == kind]

    def button(self, word: str) -> Button | None:
        """The button that says `word` in its text, name or value."""
        return next((b for b in self.buttons if word in f"{b.text} {b.name} {b.value}".lower()), None)


class _Parser(HTMLParser):
    """Collects the forms and the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self._form: Form | None = None
        self._button: Button | None = None
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("style", "script", "title"):
            self._hidden += 1
        elif tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._form)
        elif self._form is not None:
            self._add(self._form, tag, given)

    def _add(self, form: Form, tag: str, given: dict[str, str]) -> None:
        kind = given.get("type", "submit" if tag == "button" else "text").lower()
        name = given.get("name", "")
        if tag in ("button", "input") and kind in BUTTONS:
            self._button = Button(name, given.get("value", ""))
            form.buttons.append(self._button)
            if tag == "input":
                self._button = None
        elif tag == "input" and name:
            form.kinds[name] = kind
            if kind not in ("checkbox", "radio"):
                form.fields[name] = given.get("value", "")
            elif "checked" in given:
                form.fields[name] = given.get("value", "") or "on"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script", "title"):
            self._hidden = max(0, self._hidden - 1)
        elif tag == "form":
            self._form = None
        elif tag == "button":
            self._button = None

    def handle_data(self, data: str) -> None:
        if self._button is not None:
            self._button.text += data
        elif not self._hidden and data.strip():
            self.text.append(" ".join(data.split()))


@dataclass(frozen=True)
class Page:
    """What came back: where from (after redirects), its forms, its text."""

    url: str
    forms: tuple[Form, ...]
    text: str

    def fail(self, what: str) -> FarmletError:
        return FarmletError(self.url, f"{what}; the page says: {self.text[:200]}", "farmlet logs service")


def parse(url: str, html: str) -> Page:
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return Page(url, tuple(parser.forms), " ".join(parser.text))


class Browser:
    """One session. `cafile`: authorities (PEM) trusted besides the system's own."""

    def __init__(self, cafile: Path | None) -> None:
        context = ssl.create_default_context()
        if cafile is not None:
            context.load_verify_locations(cafile)
        self.cookies = CookieJar()
        handlers = (urllib.request.HTTPCookieProcessor(self.cookies), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def open(self, url: str, fields: dict[str, str] | None = None, referrer: str = "") -> Page:
        """Fetch a page; with `fields`, post them. A page that reports an error is a page too. Raises OSError."""
        data = urlencode(fields).encode() if fields is not None else None
        # Django compares the referrer of each post over TLS with its own name
        request = urllib.request.Request(url, data, {"Referer": referrer} if referrer else {})
        try:
            with self._opener.open(request, timeout=30) as answer:
                return parse(answer.url, answer.read().decode())
        except urllib.error.HTTPError as error:
            raise parse(url, error.read().decode(errors="replace")).fail(f"HTTP {error.code}") from error

    def call(self, method: str, url: str, headers: dict[str, str], body: object = None) -> Any:
        """What a script on a page does: a request, and its answer in JSON, None if there is none. Raises OSError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
        try:
            with self._opener.open(request, timeout=60) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise FarmletError(url, f"HTTP {error.code}: {error.read().decode(errors='replace')[:300]}") from error
        return json.loads(text) if text else None

    def submit(self, page: Page, form: Form, values: dict[str, str], button: Button | None = None) -> Page:
        fields = {**form.fields, **values}
        if button is not None and button.name:
            fields[button.name] = button.value
        url = urljoin(page.url, form.action)
        if form.method == "get":
            return self.open(f"{url.partition('?')[0]}?{urlencode(fields)}", referrer=page.url)
        return self.open(url, fields, page.url)

    def join(self, url: str, name: str, password: str) -> Page:
        """Follow a one-time link and set the password; then sign in if asked."""
        page = self.open(url)
        form = next((each for each in page.forms if each.names("password")), None)
        if form is None:
            raise page.fail("no form to set a password")
        page = self.submit(page, form, dict.fromkeys(form.names("password"), password))
        if any(len(each.names("password")) > 1 for each in page.forms):
            raise page.fail("the password was not taken")
        return self.sign_in(page, name, password)

    def allow(self, url: str, name: str, password: str) -> Page:
        """Open a device's verification page, sign in if asked, go through it and press `allow`."""
        page = self.open(url)
        for _ in range(4):
            page = self.sign_in(page, name, password)
            for form in page.forms:
                if button := form.button("allow"):
                    return self.submit(page, form, {}, button)
            # a page that asks for the code (already filled in by the link) before it shows what is asked for
            asking = next((each for each in page.forms if "user_code" in each.fields), None)
            if asking is None:
                break
            page = self.submit(page, asking, {}, asking.buttons[0] if asking.buttons else None)
        raise page.fail("no button to allow the device")

    def sign_in(self, page: Page, name: str, password: str) -> Page:
        """Fill in the issuer's form, if the page is that."""
        form = next((each for each in page.forms if len(each.names("password")) == 1), None)
        if form is None:
            return page
        text = [field for field in form.kinds if form.kinds[field] in ("text", "email")]
        page = self.submit(page, form, {**dict.fromkeys(text, name), form.names("password")[0]: password})
        if any(each.names("password") for each in page.forms):
            raise page.fail(f"{name} could not sign in")
        return page
