"""Redirect URIs: what may be registered, what matches."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.parts.identity.service.oauth import redirects

GOOD = (
    "https://client.example.org/back",
    "https://client.example.org:8443/back?a=b",
    "http://127.0.0.1/cb",
    "http://[::1]:80/cb",
    "http://localhost:4242",
    "edu.kit.data.oidc-agent:/redirect",
)


@pytest.mark.parametrize("uri", GOOD)
def test_these_can_be_registered(uri: str) -> None:
    assert redirects.find_fault(uri) == "" and redirects.match(uri, GOOD)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://client.example.org/back",
        "https://*.example.org/back",
        "https://client.example.org/back#f",
        "https://me@client.example.org/back",
        "https://client.example.org\\@evil.example.org/",
        "https:///back",
        "https:client.example.org",
        "https://-.example.org/",
        "http://[::1/",
        "http://127.0.0.1.evil.example.org/",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/back",
        "https://client.example.org/a b",
        "https://client.example.org/;\n",
        "https://client.example.org;script-src/",
    ],
)
def test_these_cannot(uri: str) -> None:
    assert redirects.find_fault(uri)


@given(st.sampled_from(GOOD), st.text(min_size=1, max_size=4), st.integers(0, 40))
def test_nothing_but_a_loopback_port_may_differ(uri: str, inserted: str, at: int) -> None:
    changed = uri[:at] + inserted + uri[at:]
    if redirects.match(changed, GOOD) and changed not in GOOD:
        old, new = urlsplit(uri), urlsplit(changed)
        assert redirects.find_fault(changed) == "" and old.hostname == new.hostname in ("127.0.0.1", "::1")
        assert (old.scheme, old.path, old.query) == (new.scheme, new.path, new.query)


@given(st.integers(1, 65535))
def test_loopback_port_is_free(port: int) -> None:
    assert redirects.match(f"http://127.0.0.1:{port}/cb", GOOD) and redirects.match(f"http://[::1]:{port}/cb", GOOD)
    assert not redirects.match(f"http://127.0.0.1:{port}@evil.example.org/cb", GOOD)
    assert not redirects.match(f"https://client.example.org:{port}/back", GOOD)


def test_answers_are_added_to_the_query() -> None:
    assert redirects.extend("https://c/b", {"code": "a b", "state": ""}) == "https://c/b?code=a+b"
    assert redirects.extend("https://c/b?x=1", {"code": "1"}) == "https://c/b?x=1&code=1"


def test_sources_of_a_policy() -> None:
    assert redirects.find_source("https://c:1/b") == "https://c:1" and redirects.find_source("org.x.app:/b") == "org.x.app:"
    assert redirects.find_source("http://[::1]:80/b") == "http:"
    assert redirects.find_source("https://c;sandbox/b") == redirects.find_source("https://c,x/b") == ""
