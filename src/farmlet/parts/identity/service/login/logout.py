"""Logging out, by oneself or because a program one used asks for it.

Source: OpenID Connect RP-Initiated Logout 1.0.
"""

# mypy: allow-untyped-decorators

from __future__ import annotations

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from farmlet.parts.identity.service.oauth import mint, redirects
from farmlet.parts.identity.service.oauth.request import Unknown, find_client
from farmlet.parts.identity.service.pages import pages


@pages.welcome_posts
@never_cache
@require_http_methods(["GET", "POST"])
def leave(request: HttpRequest) -> HttpResponse:
    """GET logs out at once if an ID token shows that the member's own program asks, else it asks; POST logs out."""
    hint = mint.read_identity(request.GET.get("id_token_hint", ""))
    try:
        target = _find_target(request.GET, hint)
    except Unknown as error:
        return render(request, "identity/error.html", {"message": error}, status=400)
    member = request.user
    sure = request.method == "POST" or (hint is not None and member.is_authenticated and hint[0] == str(member.sub))
    if member.is_authenticated and not sure:
        return pages.let_go(render(request, "identity/leave.html"), target)
    logout(request)
    if target:
        return HttpResponse(status=303, headers={"Location": redirects.extend(target, {"state": request.GET.get("state", "")})})
    return render(request, "identity/logout.html")


def _find_target(query: QueryDict, hint: tuple[str, str] | None) -> str:
    """Where to go afterwards, "" for nowhere. Raises Unknown for what is not registered, letter by letter."""
    uri: str = query.get("post_logout_redirect_uri", "")
    name = query.get("client_id", "")
    if hint and name and hint[1] != name:
        raise Unknown("The program that sent you here shows an ID token of another one.")
    if not uri:
        return ""
    client = find_client(hint[1] if hint else name)
    if client is None or uri not in client.post_logout_redirect_uris.split():
        raise Unknown("The program that sent you here wants you to go on to an address that is not registered for it.")
    return uri
