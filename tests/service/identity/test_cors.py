"""What a browser wants to hear before it lets a page of another origin ask for tokens: the public clients of `clients.md`."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from email.message import Message

import pytest
from issuer import Service

pytestmark = [pytest.mark.service, pytest.mark.once]
PAGE = "https://app.example.org"


def ask(service: Service, method: str, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Message]:
    given = {"Origin": PAGE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = urllib.request.Request(f"{service.issuer}{path}", data, given, method=method)
    try:
        answer = urllib.request.urlopen(request, timeout=20, context=ssl.create_default_context(cafile=service.cafile))
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers


@pytest.mark.parametrize("path", ["/token/", "/token", "/revoke/", "/userinfo"])
def test_the_question_before(service: Service, path: str) -> None:
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
    status, headers = ask(service, "OPTIONS", path, **wanted)
    assert status == 204 and headers["Access-Control-Allow-Origin"] == "*"
    assert {"authorization", "content-type"} <= set(headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert "Access-Control-Allow-Credentials" not in headers, "no cookie ever"


@pytest.mark.parametrize(("method", "path"), [("POST", "/token/"), ("POST", "/revoke/"), ("GET", "/userinfo")])
def test_refusals_can_be_read_too(service: Service, method: str, path: str) -> None:
    status, headers = ask(service, method, path, b"grant_type=refresh_token" if method == "POST" else None)
    assert status in (400, 401) and headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/login/", "/device/", "/authorize/", "/logout/"])
def test_what_goes_by_cookie_is_for_no_other_page(service: Service, path: str) -> None:
    for method in ("OPTIONS", "GET"):
        _, headers = ask(service, method, path, Access_Control_Request_Method="POST")
        assert "Access-Control-Allow-Origin" not in headers
