"""Authlib as a relying party: what it takes from discovery, sends and verifies is its own doing, not ours."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OAuthError, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from browser import Browser
from issuer import Service, claims
from joserfc.errors import InvalidClaimError
from party import BACK, read_back

pytestmark = [pytest.mark.service, pytest.mark.once]
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
SCOPE = "openid profile email offline_access wlcg.groups storage.read:/"


class App(OAuth2Mixin, OpenIDMixin, BaseApp):  # type: ignore[misc]
    """Authlib's client without a web framework around it, as its own Flask and Django clients are made."""

    client_cls = OAuth2Session

    def _on_update_token(self, token: dict[str, Any], **old: str | None) -> None:
        """An application would keep it."""


@pytest.fixture(scope="module")
def paula(service: Service) -> Browser:
    return service.join("paula", "lab/production")[0]


@pytest.fixture(scope="module")
def app(service: Service) -> App:
    return make(service, "authlib", "--grant=code,refresh,exchange,device", f"--redirect-uri={BACK}")


@pytest.fixture(autouse=True)
def trust(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", service.cafile)


def make(service: Service, name: str, *options: str) -> App:
    return App(
        None,
        name,
        client_id=name,
        client_secret=service.register(name, *options),
        server_metadata_url=f"{service.issuer}/.well-known/openid-configuration",
        client_kwargs={"scope": SCOPE, "code_challenge_method": "S256"},
    )


def log_in(app: App, browser: Browser) -> tuple[dict[str, Any], str]:
    """The tokens of a code with PKCE, and the nonce that was asked for."""
    request = app.create_authorization_url(BACK, nonce=generate_token())
    page = browser.open(request["url"])
    back = read_back(browser.submit(page, "allow") if page.status == 200 else page, BACK)
    assert back["state"] == request["state"]
    token = app.fetch_access_token(code=back["code"], redirect_uri=BACK, code_verifier=request["code_verifier"])
    return dict(token), request["nonce"]


def test_code_id_token_and_userinfo(app: App, paula: Browser) -> None:
    token, nonce = log_in(app, paula)
    person = app.parse_id_token(token, nonce=nonce)  # signature, iss, aud, exp, nonce, at_hash
    assert person["preferred_username"] == "paula"
    assert app.userinfo(token=token)["sub"] == person["sub"]
    with pytest.raises(InvalidClaimError):
        app.parse_id_token(token, nonce="another")
    with pytest.raises(InvalidClaimError):
        app.parse_id_token({**token, "access_token": "another"}, nonce=nonce)


def test_id_token_in_es256(service: Service, paula: Browser) -> None:
    app = make(service, "authlib-es256", "--grant=code", f"--redirect-uri={BACK}", "--algorithm=ES256")
    token, nonce = log_in(app, paula)
    assert app.parse_id_token(token, nonce=nonce)["preferred_username"] == "paula"


def test_refresh_introspection_revocation(app: App, paula: Browser) -> None:
    token, _ = log_in(app, paula)
    metadata = app.load_server_metadata()
    with app._get_oauth_client(**metadata) as session:
        fresh = session.refresh_token(metadata["token_endpoint"], token["refresh_token"])
        assert fresh["refresh_token"] != token["refresh_token"] and fresh["access_token"] != token["access_token"]
        narrow = session.refresh_token(metadata["token_endpoint"], fresh["refresh_token"], scope="openid")
        assert narrow["scope"] == "openid"
        wide = session.refresh_token(metadata["token_endpoint"], narrow["refresh_token"], scope=SCOPE)
        assert set(wide["scope"].split()) == set(SCOPE.split())
        told = session.introspect_token(metadata["introspection_endpoint"], wide["access_token"]).json()
        assert told["active"] and told["username"] == "paula"
        assert session.revoke_token(metadata["revocation_endpoint"], wide["refresh_token"]).status_code == 200
        with pytest.raises(OAuthError, match="invalid_grant"):
            session.refresh_token(metadata["token_endpoint"], wide["refresh_token"])


def test_device_flow(service: Service, app: App, paula: Browser) -> None:
    metadata = app.load_server_metadata()
    with app._get_oauth_client(**metadata) as session:
        data = {"client_id": app.client_id, "scope": "openid offline_access"}
        secret = (app.client_id, app.client_secret)
        started = requests.post(metadata["device_authorization_endpoint"], data=data, auth=secret, timeout=10).json()
        asked = {"grant_type": DEVICE, "device_code": started["device_code"]}
        with pytest.raises(OAuthError, match="authorization_pending"):
            session.fetch_token(metadata["token_endpoint"], **asked)
        service.allow(paula, started)
        time.sleep(started["interval"])
        token = session.fetch_token(metadata["token_endpoint"], **asked)
    assert claims(token["access_token"])["preferred_username"] == "paula"


def test_exchange(app: App, paula: Browser) -> None:
    token, _ = log_in(app, paula)
    metadata = app.load_server_metadata()
    asked = {"subject_token": token["access_token"], "subject_token_type": ACCESS, "audience": "https://se.example.org"}
    with app._get_oauth_client(**metadata) as session:
        got = session.fetch_token(metadata["token_endpoint"], grant_type=EXCHANGE, scope="storage.read:/data", **asked)
    assert claims(got["access_token"])["aud"] == "https://se.example.org" and got["scope"] == "storage.read:/data"
