"""Device codes, refresh tokens and access tokens. §2, §3, §4."""

from __future__ import annotations

import base64
import json
import secrets
import time
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from joserfc import jwt

from indigo.client import DEVICE, Client, Refusal

if TYPE_CHECKING:
    from indigo.iam import Iam

ANY = "https://wlcg.cern.ch/jwt/v1/any"
IDENTITY_LIFE = 600  # seconds of an ID token
Form = dict[str, str]


@dataclass
class Consent:
    """What a person allowed, or is asked to. `resources`: what `resource` named at the beginning."""

    client: Client
    scopes: tuple[str, ...]
    resources: tuple[str, ...] = ()
    sub: str = ""  # "": not yet
    until: float = 0.0
    user_code: str = ""
    told: bool = False  # that it has ended
    shown: bool = False  # the page of consent


@dataclass
class Access:
    """An access token: of whom, and which refresh token it came with."""

    client: Client
    sub: str
    claims: dict[str, Any]
    scopes: tuple[str, ...]
    refresh: str = ""


def refuse(error: str, description: str = "", status: int = 400) -> Refusal:
    return Refusal(status, error, description)


@dataclass
class Grants:
    iam: Iam
    devices: dict[str, Consent] = field(default_factory=dict)
    refreshes: dict[str, Consent] = field(default_factory=dict)
    tokens: dict[str, Access] = field(default_factory=dict)
    remembered: list[Consent] = field(default_factory=list)
    moment: Callable[[], object] = lambda: None  # between the look at a refresh token and its end

    # device flow, §3

    def start(self, form: Form) -> dict[str, Any]:
        if not form.get("client_id"):
            raise Refusal(400)
        client = self.iam.clients.known.get(form["client_id"])
        if client is None:
            raise Refusal(404)
        if DEVICE not in client.grants:
            raise refuse("invalid_client", "Unauthorized grant type", 401)
        asked = tuple(form.get("scope", "").split()) or client.scopes
        client.check_scopes(list(asked), self.iam.paths)
        # `audience` is ignored here; a wrong `resource` is found when somebody wants to allow it
        consent = Consent(client, asked, tuple(form.get("resource", "").split()), until=time.time() + client.device_seconds)
        code, consent.user_code = str(uuid.uuid4()), secrets.token_urlsafe(9)[:6].upper()
        self.devices[code] = consent
        if self.iam.person:
            self.allow(consent.user_code, self.iam.person)
        place = f"{self.iam.base}device"
        answer = {"user_code": consent.user_code, "device_code": code, "expires_in": client.device_seconds}
        return answer | {"verification_uri": place, "verification_uri_complete": f"{place}?user_code={consent.user_code}"}

    def waiting(self, user_code: str) -> Consent | None:
        found = (one for one in self.devices.values() if one.user_code == user_code.upper())
        return next((one for one in found if not one.sub and one.until > time.time()), None)

    def allow(self, user_code: str, username: str, remember: bool = False) -> None:
        """What a policy denies is left out, silently (§8); a wrong resource leaves it waiting, as somebody's denial does."""
        consent, user = self.waiting(user_code), self.iam.find(username)
        if consent is None or not all(map(is_resource, consent.resources)):
            return
        consent.scopes = tuple(one for one in consent.scopes if one not in self.iam.denied)
        consent.sub = user["id"]
        if remember:
            self.remembered.append(consent)

    def is_remembered(self, consent: Consent, sub: str) -> bool:
        same = [one for one in self.remembered if one.client is consent.client and one.sub == sub]
        return any(set(consent.scopes) <= set(one.scopes) for one in same)

    def poll(self, client: Client, form: Form) -> dict[str, Any]:
        code = form.get("device_code", "")
        consent = self.devices.get(code)
        if consent is None or consent.client is not client or consent.told:
            raise refuse("invalid_grant", f"Invalid device code: {code}")
        if consent.until < time.time():
            consent.told = True
            raise refuse("expired_token", f"Device code has expired {code}")
        if not consent.sub:
            raise refuse("authorization_pending", f"Authorization pending for code: {code}")
        user = self.user_of(consent)
        audience = choose_audience(form, consent.resources) or consent.resources
        del self.devices[code]
        refresh = self.remember(consent) if "offline_access" in consent.scopes and "refresh_token" in client.grants else ""
        return self.issue(client, user["id"], consent.scopes, audience, refresh)

    # refresh, §4

    def remember(self, consent: Consent) -> str:
        seconds = consent.client.refresh_seconds
        end = time.time() + seconds if seconds else 0.0
        payload = {"jti": str(uuid.uuid4())} | ({"exp": int(end)} if end else {})
        token = ".".join([encode({"alg": "none"}), encode(payload), ""])
        self.refreshes[token] = replace(consent, until=end)
        return token

    def refresh(self, client: Client, form: Form) -> dict[str, Any]:
        if "refresh_token" not in form:
            raise refuse("server_error", "", 500)
        token = form["refresh_token"]
        consent = self.refreshes.get(token)
        if consent is None:
            raise refuse("invalid_token", f"Refresh token for value {token} was not found", 401)
        if consent.client is not client:
            raise refuse("invalid_client", "Client does not own refresh token", 401)
        if consent.until and consent.until < time.time():
            raise refuse("invalid_token", f"Invalid refresh token: {token}", 401)
        user = self.user_of(consent)
        asked = tuple(form.get("scope", "").split())
        client.check_scopes(list(asked), self.iam.paths)
        if not set(asked) <= set(consent.scopes):
            raise refuse("invalid_scope", "Up-scoping is not allowed.")
        if not set(form.get("resource", "").split()) <= set(consent.resources):
            raise refuse("invalid_target", "The requested resource was not originally granted")
        audience = choose_audience(form) or consent.resources
        self.moment()
        fresh = token if client.reuse_refresh_token else self.remember(consent)
        if fresh != token or client.clear_access_tokens_on_refresh:
            self.drop(token)
        if fresh != token:
            self.refreshes.pop(token, None)  # without grace; who came at the same moment was let through
        answer = self.issue(client, user["id"], asked or consent.scopes, audience, fresh)
        # whatever the narrower scope
        return answer | ({"id_token": self.identify(client, user, int(time.time()))} if "openid" in consent.scopes else {})

    def user_of(self, consent: Consent) -> dict[str, Any]:
        """§9. Nothing of it ends the credential."""
        user = self.iam.by_id(consent.sub)
        if user is None:
            raise refuse("invalid_token", "Invalid refresh token: its user is gone", 401)
        if user["active"] is not True:
            raise refuse("unauthorized", f"User {user['userName']} is not active.", 401)
        if self.iam.has_to_sign(user):
            name = user["userName"]
            raise refuse("invalid_grant", f"User {name} needs to sign AUP for this organization in order to proceed.")
        return user

    def drop(self, refresh: str) -> None:
        self.tokens = {token: one for token, one in self.tokens.items() if one.refresh != refresh}

    def revoke(self, client: Client, token: str) -> None:
        for kind in (self.refreshes, self.tokens):
            if (found := kind.get(token)) and found.client is not client:
                raise refuse("invalid_client", "Client does not own token", 403)
        if self.refreshes.pop(token, None):
            self.drop(token)
        self.tokens.pop(token, None)

    def forget(self, sub: str) -> None:
        self.refreshes = {token: one for token, one in self.refreshes.items() if one.sub != sub}
        self.tokens = {token: one for token, one in self.tokens.items() if one.sub != sub}

    # tokens, §2

    def credentials(self, client: Client, form: Form) -> dict[str, Any]:
        asked = tuple(form.get("scope", "").split()) or client.scopes
        client.check_scopes(list(asked), self.iam.paths)
        return self.issue(client, client.id, asked, choose_audience(form))

    def issue(
        self, client: Client, sub: str, scopes: tuple[str, ...], audience: tuple[str, ...], refresh: str = ""
    ) -> dict[str, Any]:
        user, now, profile = self.iam.by_id(sub), int(time.time()), client.profile(self.iam.profile)
        claims: dict[str, Any] = {"iss": self.iam.token_issuer, "sub": sub, "iat": now, "exp": now + client.access_seconds}
        claims |= {"jti": str(uuid.uuid4()), "client_id": client.id}
        if profile == "wlcg" and not audience:
            audience = (ANY,)
        if audience:
            claims["aud"] = audience[0] if len(audience) == 1 else list(audience)
        if profile in ("wlcg", "kc"):
            claims |= {"scope": " ".join(sorted(scopes, key=hash)), "nbf": now}
        claims |= {"wlcg.ver": "1.0"} if profile == "wlcg" else {}
        if user and (name := {"wlcg": "wlcg.groups", "aarc": "entitlements", "kc": "roles"}.get(profile)):
            wanted = profile != "wlcg" or any(one.partition(":")[0] == "wlcg.groups" for one in scopes)
            names = group_names(user) if profile != "wlcg" else choose_groups(user, scopes, self.iam.optional)
            claims |= {name: names} if wanted and names else {}
        token = self.sign(claims)
        self.tokens[token] = Access(client, sub, claims, scopes, refresh)
        answer = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": client.access_seconds - 1,
            "scope": " ".join(scopes),
        }
        answer |= {"refresh_token": refresh} if refresh else {}
        return answer | ({"id_token": self.identify(client, user, now)} if user and "openid" in scopes else {})

    def identify(self, client: Client, user: dict[str, Any], now: int) -> str:
        claims = {
            "iss": self.iam.issuer,
            "sub": user["id"],
            "aud": client.id,
            "iat": now,
            "exp": now + IDENTITY_LIFE,
            "kid": "rsa1",
        }
        return self.sign(claims | {"jti": str(uuid.uuid4()), "preferred_username": user["userName"]})

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"kid": "rsa1", "alg": "RS256"}, claims, self.iam.key, default_type=None)  # no `typ`

    def find(self, token: str) -> Access | None:
        """A token that is good; of who was suspended too, to its end."""
        found = self.tokens.get(token)
        return found if found and found.claims["exp"] > time.time() else None


def choose_audience(form: Form, granted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """By precedence; `audience` and `aud` may be any text unless `resource` was granted at the beginning."""
    for name in ("resource", "aud", "audience"):
        if not (words := tuple(form.get(name, "").split())):
            continue
        for word in words if name == "resource" else ():
            if not is_resource(word):
                raise refuse("invalid_target", f"Not a valid URI: {word}")
        if granted and not set(words) <= set(granted):
            raise refuse("invalid_target", "The requested resource was not originally granted")
        return words
    return ()


def is_resource(text: str) -> bool:
    url = urllib.parse.urlsplit(text)
    return bool(url.scheme and url.netloc) and not url.query and not url.fragment


def choose_groups(user: dict[str, Any], scopes: tuple[str, ...], optional: set[str]) -> list[str]:
    """§7: what is asked for by name stands first, all others follow but the optional ones."""
    names = group_names(user)
    asked = [one.partition(":")[2] for one in scopes if one.startswith("wlcg.groups:")]
    first = [name for name in dict.fromkeys(asked) if name in names]
    return first + [name for name in names if name not in first and name[1:] not in optional]


def group_names(user: dict[str, Any]) -> list[str]:
    return sorted("/" + group["display"] for group in user.get("groups", ()))


def encode(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
