"""The database. `members`: people, groups, the ledger, the feed of changes; `oauth`: clients, connections, grants."""

from farmlet.parts.identity.service.django.models.members import Attempt, Change, Entry, Group, Invitation, Member
from farmlet.parts.identity.service.django.models.oauth import (
    AccessToken,
    Client,
    Connection,
    DeviceGrant,
    Ended,
    Grant,
    IDToken,
    RefreshToken,
    RevokedToken,
)

__all__ = [
    "AccessToken",
    "Attempt",
    "Change",
    "Client",
    "Connection",
    "DeviceGrant",
    "Ended",
    "Entry",
    "Grant",
    "Group",
    "IDToken",
    "Invitation",
    "Member",
    "RefreshToken",
    "RevokedToken",
]
