"""What stands in a token, without its key."""

from __future__ import annotations

import base64

import pytest

from farmlet.runtime.issuer.jwt import peek


def encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def test_header_and_claims() -> None:
    token = ".".join((encode('{"kid": "a"}'), encode('{"sub": "é"}'), "x"))
    assert (peek(token), peek(token, 0)) == ({"sub": "é"}, {"kid": "a"})


@pytest.mark.parametrize("claims", ["", "no JSON", "[1]", "null", "[" * 100_000])
def test_what_is_none(claims: str) -> None:
    for token in (f"x.{encode(claims)}.x", encode(claims), f"x.é{claims[:9]}.x"):
        with pytest.raises(ValueError):
            peek(token)
