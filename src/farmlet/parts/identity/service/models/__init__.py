"""The database. `members`: people, groups, the ledger, the feed of changes; `oauth`: clients and grants."""

from farmlet.parts.identity.service.models.members import Attempt, Change, Entry, Group, Invitation, Member
from farmlet.parts.identity.service.models.oauth import AccessToken, Client, DeviceGrant, Grant, IDToken, RefreshToken

__all__ = [
    "AccessToken",
    "Attempt",
    "Change",
    "Client",
    "DeviceGrant",
    "Entry",
    "Grant",
    "Group",
    "IDToken",
    "Invitation",
    "Member",
    "RefreshToken",
]
