"""Clocks that are some seconds apart: a fresh token is taken by who is behind, and by who is ahead."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from issuer import Service, claims
from joserfc.jwk import KeySet

from farmlet.facility.places import ANY
from farmlet.parts.identity.service.tokens.tokens import MARGIN
from farmlet.runtime import tokens

pytestmark = [pytest.mark.service, pytest.mark.once]
# what our issuer does when its clock is so many seconds off
MINT = """
import time
now, time.time = time.time, lambda: now() + {shift}
from farmlet.parts.identity.service.admin.command import main
main({words!r})
"""


def mint(service: Service, shift: float) -> str:
    words = ["--config", str(service.config), "token", "--as=odette", "--scope=openid storage.read:/"]
    words += ["--reason=x", "--by=ada"]
    done = service.console.run(code=MINT.format(shift=shift, words=words))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def keys(service: Service) -> Mapping[str, Any]:
    service.join("odette")
    found: Mapping[str, Any] = service.request("/jwks").body
    return found


def by_us(token: str, keys: Mapping[str, Any], issuer: str) -> None:
    tokens.check(token, KeySet.import_key_set(dict(keys)), issuer, [ANY])


def by_flaat(token: str, keys: Mapping[str, Any], issuer: str) -> None:
    """As flaat does for motley-cue: PyJWT's own checks of the times, without leeway."""
    key = jwt.PyJWKSet.from_dict(dict(keys))[jwt.get_unverified_header(token)["kid"]]
    jwt.decode(token, key.key, algorithms=["ES256", "RS256"], options={"verify_aud": False})


def by_scitokens(token: str, keys: Mapping[str, Any], issuer: str) -> None:
    """The library of XRootD and HTCondor."""
    name = ctypes.util.find_library("SciTokens")
    if name is None:
        pytest.skip("libscitokens0 is not installed")
    library, error, found = ctypes.CDLL(name), ctypes.c_char_p(), ctypes.c_void_p()
    key = jwt.PyJWKSet.from_dict(dict(keys))[jwt.get_unverified_header(token)["kid"]].key
    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    kid = jwt.get_unverified_header(token)["kid"].encode()
    assert library.scitoken_store_public_ec_key(issuer.encode(), kid, text, ctypes.byref(error)) == 0, error.value
    assert library.scitoken_deserialize(token.encode(), ctypes.byref(found), None, ctypes.byref(error)) == 0, error.value


@pytest.mark.parametrize("shift", [2, -2, 8, -8, 0])
@pytest.mark.parametrize("verify", [by_us, by_flaat, by_scitokens])
def test_a_fresh_token_is_taken(
    service: Service, keys: Mapping[str, Any], verify: Callable[[str, Mapping[str, Any], str], None], shift: float
) -> None:
    verify(mint(service, shift), keys, service.issuer)


def test_the_margin_is_no_longer_life(service: Service, keys: Mapping[str, Any]) -> None:
    """It begins earlier; it does not end later."""
    found = claims(mint(service, 0))
    assert found["iat"] == found["nbf"] and found["exp"] - found["iat"] == 600 + MARGIN
