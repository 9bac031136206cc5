"""The pages people use: home, log-in, join, errors; and what all pages share."""

# mypy: allow-subclassing-any, allow-untyped-decorators

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, cast

from django import forms
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import SetPasswordForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from farmlet.parts.identity.service.admin.break_glass import find_minted
from farmlet.parts.identity.service.django.project import SHORTEST, provider
from farmlet.parts.identity.service.login.password import LoginForm
from farmlet.parts.identity.service.members import members
from farmlet.parts.identity.service.members.ownership import find_services
from farmlet.parts.identity.service.oauth.redirects import find_source
from farmlet.parts.identity.service.oauth.request import Unknown, find_target
from farmlet.parts.identity.service.tokens.policy import resolve
from farmlet.web import theme
from farmlet.web.headers import allow

SCRIPT = "document.forms[0].submit()"  # the one there is, which spares people a click
FRESH = forms.PasswordInput(attrs={"autocomplete": "new-password"})  # programs that keep passwords then offer one
View = Callable[[HttpRequest], HttpResponse]


class Login(LoginView):
    """Log in, then go on to where one came from."""

    template_name = "identity/login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = False

    def get_initial(self) -> dict[str, Any]:
        return {"username": self.request.GET.get("login_hint", "")[:64]}

    def render_to_response(self, context: dict[str, Any], **options: Any) -> HttpResponse:
        """The form; it may lead on to the client that sent the member here."""
        target = None
        path, _, query = self.get_redirect_url().partition("?")
        if path.rstrip("/") == reverse("authorize").rstrip("/"):
            with suppress(Unknown):
                target = find_target(QueryDict(query))
        context = {**context, "destination": target.client if target else ""}
        response: HttpResponse = super().render_to_response(context, **options)
        return let_go(response, target.redirect if target else "")


class JoinForm(SetPasswordForm):
    """A first password, twice; Django's validators check it."""

    error_messages = {"password_mismatch": "The two are not the same."}  # noqa: RUF012 - the base class declares it so
    new_password1 = forms.CharField(label="Password", strip=False, help_text=f"At least {SHORTEST} characters.", widget=FRESH)
    new_password2 = forms.CharField(label="The same again", strip=False, widget=FRESH)


@login_required
@require_safe
def show_home(request: HttpRequest) -> HttpResponse:
    """Who one is here, what one owns with others, and the tokens that administrators took."""
    service, member = provider(), request.user
    details = {
        "rights": resolve(service.table, member),
        "services": find_services(service.table, member),
        "minted": find_minted(service, member),
    }
    return render(request, "identity/home.html", details)


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, secret: str) -> HttpResponse:
    """A new member sets the password; the link works once."""
    invitation = members.find_invitation(secret)
    if invitation is None:
        message = "This link was used already, or it is too old. Please ask the administrators for a new one."
        return render(request, "identity/error.html", {"message": message}, status=404)
    form = JoinForm(invitation.member, request.POST or None)
    if request.method == "POST" and form.is_valid():
        if not members.join(provider(), invitation, form.cleaned_data["new_password1"]):
            return render(request, "identity/error.html", {"message": "This link was used just now."}, status=409)
        if not invitation.member.is_active:
            return render(request, "identity/pending.html")
        login(request, invitation.member)
        return redirect("home")
    return render(request, "identity/join.html", {"form": form, "newcomer": invitation.member})


def show_file(name: str) -> View:
    """A view of a file that every page uses."""

    @require_safe
    def show(request: HttpRequest) -> HttpResponse:
        return HttpResponse(theme.load(name), content_type=theme.FILES[name], headers={"Cache-Control": "max-age=3600"})

    return cast(View, show)


def show_error(status: int, message: str) -> Callable[..., HttpResponse]:
    """A handler for one kind of error."""

    def show(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        return render(request, "identity/error.html", {"message": message}, status=status)

    return show


def show_fault(request: HttpRequest) -> HttpResponse:
    """The page of a fault of ours. It asks nothing of the database, which may be what fails."""
    message = "Something went wrong on our side. Please try again in a moment; if it stays so, tell the administrators."
    details = {"title": provider().configuration.title, "message": message}
    return HttpResponse(render_to_string("identity/error.html", details), status=500)


def refuse(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form that did not come from our own page, or whose page is too old."""
    message = "This form has expired. Please go back, load the page again and send it once more."
    return render(request, "identity/error.html", {"message": message}, status=403)


def let_go(response: HttpResponse, uri: str, script: bool = False) -> HttpResponse:
    """The page, whose form may lead on to `uri`: browsers hold redirects after a form to its form-action."""
    response["Content-Security-Policy"] = allow(find_source(uri) if uri else "", SCRIPT if script else "")
    return response


def welcome_posts(view: View) -> View:
    """For pages that programs of others may send people to by POST (OpenID Connect Core §3.1.2.1): answered like GET.

    Only our own forms have a `decision`, and those must prove that they are ours.
    """
    guarded = csrf_protect(view)

    @csrf_exempt
    @wraps(view)
    def respond(request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and "decision" not in request.POST:
            return HttpResponse(status=303, headers={"Location": f"{request.path}?{request.POST.urlencode()}"})
        response: HttpResponse = guarded(request)
        return response

    return cast(View, respond)


def describe(request: HttpRequest) -> dict[str, Any]:
    """What every template knows (context processor)."""
    return {"title": provider().configuration.title, "member": getattr(request, "user", None)}
