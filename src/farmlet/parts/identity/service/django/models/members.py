"""Members, groups, the ledger of UNIX names and numbers, the feed of changes, failed log-ins."""

# mypy: allow-subclassing-any

from __future__ import annotations

import uuid

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


class Entry(models.Model):
    """One UNIX name with its number, allocated once and never again, whatever becomes of its bearer.

    Members and groups share one ledger: a member's private group has the member's name and number, so it must clash
    with no other group.
    """

    class Kind(models.TextChoices):
        MEMBER = "member"
        GROUP = "group"

    name = models.CharField(max_length=32, unique=True)
    number = models.PositiveIntegerField(unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    allocated = models.DateTimeField(auto_now_add=True)


class Group(models.Model):
    """A group of the rights table, or one that a program made by SCIM, which gives no rights until the table has it.

    `present` is false once the table no longer has it; `rights` is its line, as JSON. `uid`, `display`, `external` and
    `extra` are SCIM's: id, displayName ("" for the path), externalId, and attributes kept as they came.
    """

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    path = models.CharField(max_length=128, unique=True)
    display = models.CharField(max_length=200, blank=True)
    external = models.CharField(max_length=200, blank=True)
    extra = models.JSONField(default=dict)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT)
    rights = models.JSONField(default=dict)
    present = models.BooleanField(default=True)


class Member(AbstractBaseUser):
    """A person with an account, or a service member: no person, owned by the group `owner`, never logs in.

    `sub` is what tokens call them, for ever; `name` is the UNIX name, immutable. `expires`: the end of a membership that
    has one. `username`, `external` and `extra` are SCIM's: userName where it is not the UNIX name, externalId, and
    attributes kept as they came.
    """

    class Kind(models.TextChoices):
        PERSON = "person"
        SERVICE = "service"

    class State(models.TextChoices):
        PENDING = "pending"
        ACTIVE = "active"
        SUSPENDED = "suspended"
        REMOVED = "removed"

    sub = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=32, unique=True, editable=False)
    entry = models.OneToOneField(Entry, on_delete=models.PROTECT)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.PERSON)
    owner = models.ForeignKey(Group, null=True, on_delete=models.PROTECT, related_name="services")
    expires = models.DateTimeField(null=True)
    username = models.CharField(max_length=200, blank=True)
    external = models.CharField(max_length=200, blank=True)
    extra = models.JSONField(default=dict)
    display = models.CharField(max_length=200, blank=True)
    email = models.EmailField(blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    groups = models.ManyToManyField(Group, related_name="members", blank=True)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)

    USERNAME_FIELD = "name"
    EMAIL_FIELD = "email"
    objects = BaseUserManager()

    @property
    def is_active(self) -> bool:
        """Whether the member may do anything at all; Django and the token endpoint ask this."""
        return bool(self.state == self.State.ACTIVE and (self.expires is None or self.expires > timezone.now()))

    @property
    def standing(self) -> str:
        """The state, or `expired` for an active member whose end has come."""
        return "expired" if self.state == self.State.ACTIVE and not self.is_active else str(self.state)

    @property
    def number(self) -> int:
        """uid, and gid of the private group."""
        return int(self.entry.number)

    @property
    def paths(self) -> list[str]:
        """The groups the member was put in (without what follows from them) that the facility still has."""
        return sorted(group.path for group in self.groups.all() if group.present)


class Invitation(models.Model):
    """A one-time link by which a new member sets the password; only its SHA-256 is kept."""

    member = models.ForeignKey(Member, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires = models.DateTimeField()
    used = models.DateTimeField(null=True)


class Change(models.Model):
    """Something about a member changed that others keep copies of; the id is the cursor of the feed.

    Ids become visible in their order: transactions that announce take turns (`members.take_turn`).
    """

    member = models.ForeignKey(Member, on_delete=models.CASCADE)
    at = models.DateTimeField(auto_now_add=True)


class Attempt(models.Model):
    """Failures in a row by one address for one account."""

    account = models.CharField(max_length=64)
    address = models.CharField(max_length=64)
    failures = models.PositiveIntegerField(default=0)
    last = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("account", "address"), name="identity_attempt_once"),)
