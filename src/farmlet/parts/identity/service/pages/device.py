"""Where a person allows a device what it asks for (RFC 8628 §3.3)."""

# mypy: allow-untyped-decorators

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from farmlet.parts.identity.service.django.models import Client, DeviceGrant
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.login.password import delay, fail, find_authenticated
from farmlet.parts.identity.service.pages.consent import describe
from farmlet.parts.identity.service.tokens.policy import allow, resolve

UNKNOWN = "This code is not known, or it is too old, or it was used. Please compare it with what your device shows."


@login_required
@require_http_methods(["GET", "POST"])
def decide(request: HttpRequest) -> HttpResponse:
    """GET asks for the code, or with `user_code` shows what the device wants; POST takes the decision."""
    text = request.POST.get("user_code") or request.GET.get("user_code") or ""
    if not text:
        return render(request, "identity/code.html")
    member = request.user
    account = f"device code of {member.name}"
    if wait := delay(account, ""):
        return _ask(request, text, f"Too many wrong codes. Please wait {wait} s and try again.", 429)
    device = find(text)
    if device is None:
        fail(account, "")
        return _ask(request, text, UNKNOWN, 404)
    # nothing is forgiven: with a code of one's own in between one could guess on and on
    client = Client.objects.get(client_id=device.client_id)
    scopes = allow(device.scope.split(), resolve(provider().table, member), client)
    if request.method == "POST":
        return _settle(request, device, scopes)
    shown = describe(client, scopes, device.scope.split(), device.audience.split())
    code = f"{device.user_code[:4]}-{device.user_code[4:]}"
    return render(request, "identity/consent.html", {**shown, "code": code})


@login_required
@require_http_methods(["GET"])
def show_done(request: HttpRequest) -> HttpResponse:
    """What happened, after the decision."""
    return render(request, "identity/done.html", {"allowed": request.GET.get("decision") == "allow"})


def find(text: str) -> DeviceGrant | None:
    """The grant that waits under a code as a person types it: any case, with or without dash and blanks."""
    code = "".join(letter for letter in text.upper() if letter.isalnum())
    waiting = DeviceGrant.objects.filter(user_code=code, status=DeviceGrant.AUTHORIZATION_PENDING, expires__gt=timezone.now())
    found: DeviceGrant | None = waiting.first()
    return found


def _settle(request: HttpRequest, device: DeviceGrant, scopes: tuple[str, ...]) -> HttpResponse:
    """Write the decision, once; anything but a clear `allow` with something to allow is a no."""
    allowed = request.POST.get("decision") == "allow" and bool(scopes)
    status = DeviceGrant.AUTHORIZED if allowed else DeviceGrant.DENIED
    waiting = DeviceGrant.objects.filter(pk=device.pk, status=DeviceGrant.AUTHORIZATION_PENDING)
    seen = find_authenticated(request)
    if not waiting.update(status=status, user=request.user, scope=" ".join(scopes), authenticated=seen):
        return _ask(request, "", UNKNOWN, 409)
    if allowed:
        given = {"scopes": list(scopes), "audience": device.audience.split()}
        provider().record("device.allowed", member=request.user.name, client=device.client_id, **given)
    response = redirect("device-done")
    response["Location"] += f"?decision={'allow' if allowed else 'deny'}"
    return response


def _ask(request: HttpRequest, text: str, error: str, status: int) -> HttpResponse:
    return render(request, "identity/code.html", {"code": text[:20], "error": error}, status=status)
