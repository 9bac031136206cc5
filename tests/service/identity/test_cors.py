"""What a browser wants to hear before it lets a page of another origin ask for tokens: the public clients of `clients.md`."""

from __future__ import annotations

import pytest
from issuer import Service

pytestmark = [pytest.mark.service, pytest.mark.once]
PAGE = "https://app.example.org"


@pytest.mark.parametrize("path", ["/token/", "/token", "/revoke/", "/userinfo"])
def test_the_question_before(service: Service, path: str) -> None:
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
    answer = service.send(path, None, "OPTIONS", Origin=PAGE, **wanted)
    headers = answer.headers
    assert answer.status == 204 and headers["Access-Control-Allow-Origin"] == "*"
    assert {"authorization", "content-type"} <= set(headers["Access-Control-Allow-Headers"].lower().split(", "))
    assert "Access-Control-Allow-Credentials" not in headers, "no cookie ever"


@pytest.mark.parametrize(("method", "path"), [("POST", "/token/"), ("POST", "/revoke/"), ("GET", "/userinfo")])
def test_refusals_can_be_read_too(service: Service, method: str, path: str) -> None:
    answer = service.send(path, b"grant_type=refresh_token" if method == "POST" else None, method, Origin=PAGE)
    assert answer.status in (400, 401) and answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/", "/login/", "/device/", "/authorize/", "/logout/"])
def test_what_goes_by_cookie_is_for_no_other_page(service: Service, path: str) -> None:
    for method in ("OPTIONS", "GET"):
        answer = service.send(path, None, method, Origin=PAGE, Access_Control_Request_Method="POST")
        assert "Access-Control-Allow-Origin" not in answer.headers
