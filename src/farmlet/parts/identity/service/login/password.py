"""Logging in by password, and slowing down whoever guesses."""

# mypy: allow-subclassing-any

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone

from farmlet.parts.identity.service.django.models import Attempt, Member
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.login.rate_limit import bucket, give_back, take

FREE = 5  # failures before the first delay
LONGEST = 60  # seconds
GUESSES = 300  # wrong passwords an hour of one address, whatever the names: an institute may share one
TOLD = 300  # failures an hour of one address that the audit log has
GUESSED = "log-in guesses"
FORGET = timedelta(hours=1)
AUTHENTICATED = "authenticated"

REASONS: dict[str, str] = {
    Member.State.PENDING: "Your membership waits for approval. You can log in once it is approved.",
    Member.State.SUSPENDED: "Your membership is suspended. Please ask the administrators of the facility.",
    Member.State.REMOVED: "Your membership has ended.",
    "expired": "Your membership has expired. Please ask the administrators of the facility to extend it.",
}


class Backend(ModelBackend):
    """Checks the password of any member, so that the form can say why somebody may not come in; keeps only active ones in."""

    def user_can_authenticate(self, user: Any) -> bool:
        return bool(user.kind == Member.Kind.PERSON)  # a service member is nobody who could log in

    def get_user(self, user_id: Any) -> Member | None:
        """The member of a session: gone as soon as they are no longer active."""
        user = super().get_user(user_id)
        return user if isinstance(user, Member) and user.is_active and self.user_can_authenticate(user) else None


class LoginForm(AuthenticationForm):
    """User name and password; refuses to look at them while the address has to wait."""

    error_messages = {  # noqa: RUF012 - the base class declares it without ClassVar
        "invalid_login": "Wrong name or password.",
        "inactive": "This account is not active.",
    }

    def clean(self) -> dict[str, Any]:
        name, address = str(self.cleaned_data.get("username", ""))[:64], find_address(self.request)
        if wait := delay(name, address):
            raise forms.ValidationError(f"Too many failed attempts from here. Please wait {wait} s and try again.")
        # counted before the password is looked at, which is what costs
        with transaction.atomic():
            if not take(GUESSED, bucket(address), GUESSES):
                raise forms.ValidationError("Too many failed attempts from your network. Please try again in a few minutes.")
        try:
            cleaned: dict[str, Any] = super().clean()
        except forms.ValidationError as error:
            if error.code == "invalid_login":
                fail(name, address)
                # a name that is none could be a password in the wrong field; leaving the line out could be told by the time
                known = Member.objects.filter(name=name).exists()
                self._tell(name if known else "", address)
            raise
        forgive(name, address)
        give_back(GUESSED, bucket(address))
        return cleaned

    def _tell(self, member: str, address: str) -> None:
        """A line in the audit log; not for all of very many, for anybody could fill the disk with them."""
        with transaction.atomic():
            told = take("failed log-ins", bucket(address), TOLD)
        if told:
            provider().record("login.failed", member=member, address=address, by=f"address {address}")

    def confirm_login_allowed(self, user: Member) -> None:
        if not user.is_active:
            raise forms.ValidationError(REASONS[user.standing], code="inactive")


def stamp(request: HttpRequest, **_: Any) -> None:
    """Note in the session when its member gave proof of who they are (a receiver of `user_logged_in`).

    The session gets a new key each time; Django leaves the old one to a member who was logged in already.
    """
    request.session.cycle_key()
    request.session[AUTHENTICATED] = time.time()


def find_authenticated(request: HttpRequest) -> datetime | None:
    """When the member of this session gave proof; None if nobody is logged in."""
    if not request.user.is_authenticated:
        return None
    at = request.session.get(AUTHENTICATED)
    found: datetime = datetime.fromtimestamp(at, UTC) if at else request.user.last_login
    return found


def find_address(request: HttpRequest) -> str:
    """Where a request comes from. Behind the reverse proxy's unix socket, what that says last in X-Forwarded-For."""
    direct = request.META.get("REMOTE_ADDR", "")
    if direct:
        return str(direct)[:64]
    return str(request.META.get("HTTP_X_FORWARDED_FOR", "")).rpartition(",")[2].strip()[:64]


def delay(account: str, address: str) -> int:
    """Seconds this address has to wait before it may try this account again; 0 for now.

    It is the pair that waits: nobody can lock a member out from elsewhere.
    """
    found = Attempt.objects.filter(account=account, address=address, failures__gte=FREE).first()
    if found is None:
        return 0
    pause = min(LONGEST, 2 ** min(10, found.failures - FREE + 1))
    left = (found.last + timedelta(seconds=pause) - timezone.now()).total_seconds()
    return max(0, int(left + 0.999))


def fail(account: str, address: str) -> None:
    """Count a failure."""
    now = timezone.now()
    Attempt.objects.filter(last__lt=now - FORGET).delete()
    _, made = Attempt.objects.get_or_create(account=account, address=address, defaults={"failures": 1, "last": now})
    if not made:
        Attempt.objects.filter(account=account, address=address).update(failures=F("failures") + 1, last=now)


def forgive(account: str, address: str) -> None:
    """Forget the failures after a success."""
    Attempt.objects.filter(account=account, address=address).delete()
