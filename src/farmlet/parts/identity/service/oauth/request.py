"""The authorization request: what a client asks for, read and checked before anything is shown or sent.

Sources: RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2, OpenID Connect Core 1.0 §3.1.2.1 and §6, RFC 9700 §2.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.http import QueryDict

from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.oauth import redirects, target
from farmlet.parts.identity.service.oauth.grants import CODE
from farmlet.parts.identity.service.tokens.audiences import ask
from farmlet.parts.identity.service.tokens.policy import restrict

CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url
PROMPTS = frozenset({"none", "login", "consent", "select_account"})
MODES = ("query", "form_post")
LONGEST = 255  # characters of a nonce: what its column holds


class Unknown(Exception):
    """No answer may be sent: the client or where it wants it is not known. The text is for the person."""


class Refusal(Exception):
    """The client gets an error: `code` is the protocol's word."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code, self.description = code, description


@dataclass(frozen=True)
class Target:
    """Where the answer goes; `mode` is how (OAuth 2.0 Form Post Response Mode)."""

    client: Client
    redirect: str
    state: str
    mode: str


@dataclass(frozen=True)
class AuthorizationRequest:
    """The rest of the request. `scopes` are within the client's own, `asked` as they came; `audience`: whom the tokens may be
    for; `max_age` in seconds.
    """

    scopes: tuple[str, ...]
    asked: tuple[str, ...]
    audience: tuple[str, ...]
    challenge: str
    nonce: str
    prompt: frozenset[str]
    max_age: int | None
    hint: str


def find_target(query: QueryDict) -> Target:
    """Whom the answer is for. Raises Unknown."""
    if any(len(query.getlist(name)) > 1 for name in ("client_id", "redirect_uri", "state", "response_mode")):
        raise Unknown("The link that brought you here says something twice.")
    client = find_client(query.get("client_id", ""))
    if client is None:
        raise Unknown("The program that sent you here is not registered at this facility.")
    redirect = query.get("redirect_uri", "")
    if not redirect or not redirects.match(redirect, client.redirect_uris.split()):
        raise Unknown(f"{client} wants its answer sent to an address that is not registered for it.")
    mode = query.get("response_mode", "")
    return Target(client, redirect, query.get("state", ""), mode if mode in MODES else MODES[0])


def find_client(name: str) -> Client | None:
    """The client of that name."""
    found: Client | None = None if "\0" in name else Client.objects.filter(client_id=name).first()
    return found


def read(query: QueryDict, client: Client) -> AuthorizationRequest:
    """What `client` asks for. Raises Refusal."""
    _check_form(query)
    if CODE not in client.grants:
        raise Refusal("unauthorized_client", "this client has no authorization_code grant")
    asked = tuple(query.get("scope", "openid").split())
    scopes = restrict(asked, client)
    if not scopes:
        raise Refusal("invalid_scope", "this client may ask for none of these scopes")
    audience = ask(target.name((key, value) for key in query for value in query.getlist(key)), client)
    if audience is None:
        raise Refusal("invalid_target", "this client may not ask for this audience")
    wanted = AuthorizationRequest(
        scopes=scopes,
        asked=asked,
        audience=audience,
        challenge=_read_challenge(query, client),
        nonce=query.get("nonce", ""),
        prompt=frozenset(query.get("prompt", "").split()),
        max_age=_read_age(query.get("max_age", "")),
        hint=query.get("login_hint", "")[:64],
    )
    if len(wanted.nonce) > LONGEST:
        raise Refusal("invalid_request", f"a nonce has at most {LONGEST} characters")
    if not wanted.prompt <= PROMPTS or ("none" in wanted.prompt and len(wanted.prompt) > 1):
        raise Refusal("invalid_request", "prompt is none, or any of login, consent and select_account")
    return wanted


def _check_form(query: QueryDict) -> None:
    if twice := sorted(name for name in query if name != "resource" and len(query.getlist(name)) > 1):
        raise Refusal("invalid_request", f"given twice: {', '.join(twice)}"[:200])
    if any("\0" in value for name in query for value in query.getlist(name)):
        raise Refusal("invalid_request", "NUL is no character of a parameter")
    for name in ("request", "request_uri", "registration"):
        if name in query:
            raise Refusal(f"{name}_not_supported", f"the parameter {name} is not supported")
    if query.get("response_mode", MODES[0]) not in MODES:
        raise Refusal("invalid_request", f"response_mode is {' or '.join(MODES)}")
    if "response_type" not in query:
        raise Refusal("invalid_request", "response_type is missing")
    if query["response_type"] != "code":
        raise Refusal("unsupported_response_type", "the only response_type is code")


def _read_challenge(query: QueryDict, client: Client) -> str:
    """The PKCE challenge, "" if a client that has a secret sent none."""
    challenge: str = query.get("code_challenge", "")
    method = query.get("code_challenge_method", "")
    if not challenge and not method and not client.public:
        return ""
    if not challenge:
        raise Refusal("invalid_request", "code_challenge is missing (RFC 7636)")
    if method != "S256":
        raise Refusal("invalid_request", "code_challenge_method must be S256")
    if not CHALLENGE.fullmatch(challenge):
        raise Refusal("invalid_request", "code_challenge is not a SHA-256 in base64url")
    return challenge


def _read_age(text: str) -> int | None:
    if text and not re.fullmatch(r"\d{1,9}", text):
        raise Refusal("invalid_request", "max_age is a number of seconds")
    return int(text) if text else None
