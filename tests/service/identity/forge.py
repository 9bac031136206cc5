"""Access tokens as an attacker would make them, of a true one; some are even signed by the issuer's own key.

Those signed show that the key alone is not enough: what the header or the claims say counts too.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from issuer import Service, decode

Json = dict[str, Any]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def encode(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def sign(header: Any, body: Any, key: Key) -> str:
    """A JWS of whatever header and body, valid for ES256 or RS256 whatever they say."""
    text = f"{encode(header)}.{encode(body)}"
    if isinstance(key, rsa.RSAPrivateKey):
        seal = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        seal = b"".join(n.to_bytes(32, "big") for n in decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))))
    return f"{text}.{encode(seal)}"


@dataclass(frozen=True)
class Original:
    """A true token taken apart, the key that signed it, the issuer's other key, and one of the attacker's own."""

    header: Json
    body: Json
    key: Key
    other: Key
    mine: ec.EllipticCurvePrivateKey

    def true(self, body: Any = None, **header: Any) -> str:
        """Signed by the issuer's own key; a header of None is left out."""
        merged = {name: value for name, value in {**self.header, **header}.items() if value is not None}
        return sign(merged, self.body if body is None else body, self.key)

    def claim(self, **changes: Any) -> str:
        """The same with other claims; None is left out."""
        return self.true({name: value for name, value in {**self.body, **changes}.items() if value is not None})

    def false(self, **header: Any) -> str:
        """Signed by the attacker's key."""
        return sign({**self.header, **header}, self.body, self.mine)

    def seal(self, secret: bytes) -> str:
        """Sealed by HS256 with what everybody can read."""
        text = f"{encode({**self.header, 'alg': 'HS256'})}.{encode(self.body)}"
        return f"{text}.{encode(hmac.digest(secret, text.encode(), 'sha256'))}"


def take_apart(service: Service, token: str) -> Original:
    header, body = (decode(part) for part in token.split(".")[:2])
    keys = {name: load(service.folder / "keys", name) for name in ("ES256", "RS256")}
    return Original(header, body, keys.pop("ES256"), keys.pop("RS256"), ec.generate_private_key(ec.SECP256R1()))


def load(folder: Path, algorithm: str) -> Any:
    path = min(folder.glob(f"*-{algorithm}.pem"))
    return serialization.load_pem_private_key(path.read_bytes(), None)


def show(key: Key, form: serialization.Encoding = serialization.Encoding.PEM) -> bytes:
    """The public half."""
    return key.public_key().public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwk(key: ec.EllipticCurvePrivateKey) -> Json:
    point = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", **{name: encode(getattr(point, name).to_bytes(32, "big")) for name in "xy"}}


def unsigned(original: Original, algorithm: Any) -> str:
    return f"{encode({**original.header, 'alg': algorithm})}.{encode(original.body)}."


def swap(token: str, body: Any) -> str:
    """Another body between the same header and signature."""
    header, _, seal = token.split(".")
    return f"{header}.{encode(body)}.{seal}"


def nest(depth: int) -> Any:
    return json.loads("[" * depth + "]" * depth)


HOUR = 3600
EVIL = "https://evil.example.org"
FORGERIES: dict[str, Callable[[Original], str]] = {
    "alg none": lambda token: unsigned(token, "none"),
    "alg None": lambda token: unsigned(token, "None"),
    "alg null": lambda token: unsigned(token, None),
    "alg a list": lambda token: token.true(alg=["ES256"]),
    "no alg": lambda token: sign({k: v for k, v in token.header.items() if k != "alg"}, token.body, token.key),
    "HS256, public key as PEM": lambda token: token.seal(show(token.key)),
    "HS256, public key as DER": lambda token: token.seal(show(token.key, serialization.Encoding.DER)),
    "HS256, other public key": lambda token: token.seal(show(token.other)),
    "HS256, empty secret": lambda token: token.seal(b""),
    "alg of the other key": lambda token: token.true(alg="RS256"),
    "kid of the other key": lambda token: sign({**token.header, "kid": "RS256"}, token.body, token.other),
    "kid unknown": lambda token: token.true(kid="nobody"),
    "kid missing": lambda token: token.false(kid=""),
    "kid a path": lambda token: token.true(kid="../../../dev/null"),
    "kid SQL": lambda token: token.true(kid="' OR '1'='1"),
    "kid a number": lambda token: token.true(kid=1),
    "same kid, key of somebody else": lambda token: token.false(),
    "same kid, another issuer's": lambda token: sign(token.header, {**token.body, "iss": EVIL}, token.mine),
    "jku": lambda token: token.false(jku=f"{EVIL}/jwks"),
    "jwk": lambda token: token.false(jwk=jwk(token.mine)),
    "x5u": lambda token: token.false(x5u=f"{EVIL}/cert.pem"),
    "x5c": lambda token: token.false(x5c=[base64.b64encode(show(token.mine, serialization.Encoding.DER)).decode()]),
    "crit": lambda token: token.true(crit=["exp-hardware"], **{"exp-hardware": 1}),
    "crit of a claim": lambda token: token.true(crit=["exp"], exp=1),
    "crit empty": lambda token: token.true(crit=[]),
    "crit within crit": lambda token: token.true(crit=[[]]),
    "b64": lambda token: token.true(crit=["b64"], b64=True),
    "zip": lambda token: token.true(zip="DEF"),
    "typ of an ID token": lambda token: token.true(typ="JWT"),
    "typ of a logout token": lambda token: token.true(typ="logout+jwt"),
    "no typ": lambda token: token.true(typ=None),
    "typ a list": lambda token: token.true(typ=["at+jwt"]),
    "another issuer": lambda token: token.claim(iss=EVIL),
    "issuer with a slash": lambda token: token.claim(iss=token.body["iss"] + "/"),
    "no issuer": lambda token: token.claim(iss=None),
    "issuers in a list": lambda token: token.claim(iss=[token.body["iss"]]),
    "expired": lambda token: token.claim(exp=int(time.time()) - 20),
    "never ends": lambda token: token.claim(exp=None),
    "ends at infinity": lambda token: token.claim(exp=float("inf")),
    "ends at no number": lambda token: token.claim(exp=float("nan")),
    "ends beyond any clock": lambda token: token.claim(exp=10**400),
    "ends in words": lambda token: token.claim(exp="tomorrow"),
    "not yet": lambda token: token.claim(nbf=int(time.time()) + HOUR),
    "issued tomorrow": lambda token: token.claim(iat=int(time.time()) + 24 * HOUR),
    "no subject": lambda token: token.claim(sub=None),
    "subject a list": lambda token: token.claim(sub=[token.body["sub"]]),
    "scope a list": lambda token: token.claim(scope=token.body["scope"].split()),
    "claims a list": lambda token: token.true([token.body]),
    "claims a text": lambda token: token.true("x"),
    "claims null": lambda token: sign(token.header, b"null", token.key),
    "claims nested": lambda token: sign(token.header, b"[" * 3000, token.key),
    "header nested": lambda token: sign({**token.header, "x": nest(200)}, token.body, token.mine),
    "signature cut off": lambda token: token.true().rpartition(".")[0] + ".",
    "signature of zeros": lambda token: token.true().rpartition(".")[0] + "." + encode(bytes(64)),
    "another body": lambda token: swap(token.true(), token.body | {"x": 1}),
    "two parts": lambda token: token.true().rpartition(".")[0],
    "six parts": lambda token: f"{token.true()}.{token.true()}",
    "JSON serialization": lambda token: json.dumps({"payload": encode(token.body), "signatures": []}).replace(" ", ""),
    "encrypted": lambda token: f"{encode({'alg': 'dir', 'enc': 'A128GCM'})}....",
}
