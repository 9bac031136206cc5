"""A person's browser, as far as plain pages need one: cookies, links, forms with their hidden fields."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar


@dataclass
class Form:
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Page(HTMLParser):
    """What came back: `status`, `url`, `text` and the forms in it."""

    def __init__(self, status: int, url: str, text: str, headers: dict[str, str]) -> None:
        super().__init__()
        self.status, self.url, self.text, self.headers = status, url, text, headers
        self.forms: list[Form] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
        elif tag == "input" and self.forms and "name" in values:
            self.forms[-1].fields[values["name"]] = values.get("value", "")
        elif tag == "button" and self.forms and "name" in values:
            self.forms[-1].buttons.append((values["name"], values["value"]))


class Within(urllib.request.HTTPRedirectHandler):
    """Follows redirects within one service; one that leads elsewhere is the page that is returned."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        same = urllib.parse.urlsplit(newurl)[:2] == urllib.parse.urlsplit(req.full_url)[:2]
        return super().redirect_request(req, fp, code, msg, headers, newurl) if same else None


class Browser:
    def __init__(self, cafile: str) -> None:
        context = ssl.create_default_context(cafile=cafile)
        self.cookies = CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=context), urllib.request.HTTPCookieProcessor(self.cookies), Within()
        )

    def open(self, url: str, data: dict[str, str] | None = None, referer: str = "") -> Page:
        body = None if data is None else urllib.parse.urlencode(data).encode()
        request = urllib.request.Request(url, data=body, headers={"Referer": referer} if referer else {})
        try:
            answer = self._opener.open(request, timeout=10)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Page(answer.status, answer.geturl(), answer.read().decode(), dict(answer.headers))

    def submit(self, page: Page, button: str = "", **values: str) -> Page:
        """Fill in the page's first form and send it; `button` is the value of the one pressed."""
        form = page.forms[0]
        pressed = {name: value for name, value in form.buttons if value == button}
        assert not button or pressed, f"no button {button} on {page.url}: {page.text}"
        data = {**form.fields, **values, **pressed}
        target = urllib.parse.urljoin(page.url, form.action)
        if form.method == "get":
            return self.open(f"{target}?{urllib.parse.urlencode(data)}")
        return self.open(target, data, referer=page.url)
