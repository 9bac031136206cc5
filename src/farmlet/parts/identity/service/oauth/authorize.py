"""The authorization endpoint: who is asking, is this really the member, do they allow it, then a code.

Sources: RFC 6749 §4.1, RFC 9207 (`iss` in the answer), RFC 9700, OpenID Connect Core 1.0 §3.1.2.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

import time
from collections.abc import Sequence

from django.core import signing
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from farmlet.parts.identity.service.django.models import Connection
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.login.password import find_authenticated
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth import codes, mint, redirects
from farmlet.parts.identity.service.oauth.request import AuthorizationRequest, Refusal, Target, Unknown, find_target, read
from farmlet.parts.identity.service.pages import pages
from farmlet.parts.identity.service.pages.consent import describe
from farmlet.parts.identity.service.tokens.audiences import covers, opens_login
from farmlet.parts.identity.service.tokens.policy import allow, narrow, resolve

SINCE = "since"  # a parameter of ours: signed, when a new log-in was asked for


@pages.welcome_posts
@never_cache
@require_http_methods(["GET", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    """GET shows the log-in or what the client wants, unless it can be answered at once; POST takes the decision."""
    try:
        target = find_target(request.GET)
    except Unknown as error:
        return render(request, "identity/error.html", {"message": error}, status=400)
    try:
        wanted = read(request.GET, target.client)
        if _must_log_in(request, wanted):
            return _ask_log_in(request, wanted)
        return _decide(request, target, wanted)
    except Refusal as error:
        return _answer(request, target, {"error": error.code, "error_description": error.description})


def _must_log_in(request: HttpRequest, wanted: AuthorizationRequest) -> bool:
    """Whether nobody is here, or they were last asked for their password too long ago for this request."""
    at = find_authenticated(request)
    if at is None:
        return True
    since = _read_since(request.GET)
    if since is not None and at.timestamp() >= since:
        return False
    return bool(wanted.prompt & {"login", "select_account"}) or (
        wanted.max_age is not None and time.time() - at.timestamp() > wanted.max_age
    )


def _ask_log_in(request: HttpRequest, wanted: AuthorizationRequest) -> HttpResponse:
    if "none" in wanted.prompt:
        raise Refusal("login_required", "nobody is logged in, or it was too long ago")
    query = _strip(request.GET)
    query[SINCE] = signing.dumps([time.time(), digest(query.urlencode())], salt=SINCE)
    target = f"{reverse('authorize')}?{query.urlencode()}"
    return _redirect(redirects.extend(reverse("login"), {"next": target, "login_hint": wanted.hint}))


def _decide(request: HttpRequest, target: Target, wanted: AuthorizationRequest) -> HttpResponse:
    member, client = request.user, target.client
    if (hint := mint.read_identity(request.GET.get("id_token_hint", ""))) and hint[0] != str(member.sub):
        raise Refusal("login_required", "another member is logged in")
    scopes = allow(wanted.scopes, resolve(provider().table, member), client)
    if not scopes:
        raise Refusal("invalid_scope", "the member has none of the rights asked for")
    if request.method == "POST" and constant_time_compare(request.POST.get("seal", ""), _seal(request, wanted, scopes)):
        if request.POST.get("decision") != "allow":
            raise Refusal("access_denied", "the member said no")
        return _grant(request, target, wanted, scopes, "given")
    consent = "" if "consent" in wanted.prompt else _find_consent(request, target, wanted, scopes)
    if consent:
        return _grant(request, target, wanted, scopes, consent)
    if "none" in wanted.prompt:
        raise Refusal("consent_required", "the member has to be asked")
    return _show_consent(request, target, wanted, scopes)


def _find_consent(request: HttpRequest, target: Target, wanted: AuthorizationRequest, scopes: Sequence[str]) -> str:
    """Why the member need not be asked: `trusted`, a client of the facility's own; `earlier`, what they allowed still holds.

    A public client is always asked about: anything on the member's machine could take its name (RFC 8252 §8.6). So is a log-in
    that the member did not allow yet, whoever asks.
    """
    if target.client.skip_authorization and not opens_login(wanted.audience):
        return "trusted"
    if target.client.public:
        return ""
    rights = resolve(provider().table, request.user)
    held = Connection.objects.filter(member=request.user, client=target.client, expires__gt=timezone.now())
    for connection in held:
        known = connection.audience.split()
        within = all(covers(known, name) for name in wanted.audience)
        if within and set(scopes) <= set(narrow(scopes, connection.scope.split(), rights)):
            return "earlier"
    return ""


def _show_consent(request: HttpRequest, target: Target, wanted: AuthorizationRequest, scopes: Sequence[str]) -> HttpResponse:
    details = {
        **describe(target.client, scopes, wanted.asked, wanted.audience),
        "home": redirects.find_source(target.redirect) or target.redirect,
        "seal": _seal(request, wanted, scopes),
    }
    return pages.let_go(render(request, "identity/consent.html", details), target.redirect)


def _grant(
    request: HttpRequest, target: Target, wanted: AuthorizationRequest, scopes: Sequence[str], consent: str
) -> HttpResponse:
    authenticated = find_authenticated(request)
    assert authenticated is not None
    client = target.client.client_id
    given = {"scopes": list(scopes), "audience": list(wanted.audience), "consent": consent}
    provider().record("code.issued", member=request.user.name, client=client, **given)
    code = codes.issue(request.user, target.client, wanted, scopes, target.redirect, authenticated)
    return _answer(request, target, {"code": code})


def _answer(request: HttpRequest, target: Target, values: dict[str, str]) -> HttpResponse:
    values = {**values, "state": target.state, "iss": provider().issuer}
    if target.mode == "form_post":
        details = {"target": target.redirect, "values": values, "client": target.client, "script": pages.SCRIPT}
        return pages.let_go(render(request, "identity/send.html", details), target.redirect, script=True)
    return _redirect(redirects.extend(target.redirect, values))


def _redirect(uri: str) -> HttpResponse:
    """303, so that no browser sends a password or a form on (RFC 9700 §4.12); to any scheme, which Django's own will not."""
    return HttpResponse(status=303, headers={"Location": uri})


def _seal(request: HttpRequest, wanted: AuthorizationRequest, scopes: Sequence[str]) -> str:
    """Binds a decision to what was shown: this member, these scopes and audiences, this request."""
    shown = "\n".join([str(request.user.sub), " ".join(scopes), " ".join(wanted.audience), request.GET.urlencode()])
    return str(salted_hmac("consent", shown, algorithm="sha256").hexdigest())


def _strip(query: QueryDict) -> QueryDict:
    stripped = query.copy()
    stripped.pop(SINCE, None)
    return stripped


def _read_since(query: QueryDict) -> float | None:
    """When a log-in was asked for because of this very request."""
    try:
        moment, mark = signing.loads(query.get(SINCE, ""), salt=SINCE)
    except (signing.BadSignature, ValueError):
        return None
    return float(moment) if mark == digest(_strip(query).urlencode()) else None
