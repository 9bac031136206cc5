"""Members as SCIM Users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, ClassVar

from django.db.models import F, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.db.models.lookups import IContains
from django.utils import timezone
from scim2_models import InvalidValueException, MutabilityException, UniquenessException

from farmlet.errors import InputError
from farmlet.facility.names import MEMBER, check_member, derive_members
from farmlet.facility.rights import Rights
from farmlet.facility.scopes import scopes
from farmlet.parts.identity.service.django.models import Entry, Group, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members import members
from farmlet.parts.identity.service.members.contact import read_email
from farmlet.parts.identity.service.members.ownership import settle, tell
from farmlet.parts.identity.service.scim import models
from farmlet.parts.identity.service.scim.filters import UNTOLD, Column, Told, match_id, match_text, plain
from farmlet.parts.identity.service.scim.groups import VISIBLE, link
from farmlet.parts.identity.service.scim.wire import Resource, finish, fold, keep, limit, parse_id, refuse_null, show_time
from farmlet.runtime.seen import Seen

State = Member.State
KNOWN = ("schemas", "id", "meta", "externalId", "userName", "displayName", "active", "groups", models.OUR_USER)
INDIGO = {models.INDIGO_USER: ("labels", "attributes", "sshKeys")}


def _named(value: Any) -> Told:
    if not plain(value):
        return UNTOLD
    return Told(Q(username__iexact=value) | Q(username="", name=value.lower()))


def _active(value: Any) -> Told:
    now = timezone.now()
    active = Q(state=State.ACTIVE) & (Q(expires=None) | Q(expires__gt=now))
    return Told(active if value else ~active) if isinstance(value, bool) else UNTOLD


def _mailed(value: Any) -> Told:
    # an address may be among those that have no column; then it stands somewhere in that text
    if not plain(value) or '"' in value or "\\" in value:
        return UNTOLD
    return Told(Q(email__iexact=value) | Q(IContains(Cast("extra", TextField()), value)), exact=False)


class Users:
    """`base` is the URL that SCIM is reached by; `by` goes into the audit log with each change."""

    kind = "User"
    model = models.FullUser
    columns: ClassVar[Mapping[str, Column]] = {
        f"{models.USER}:userName".lower(): _named,
        f"{models.USER}:active".lower(): _active,
        f"{models.USER}:externalId".lower(): match_text("external"),
        f"{models.USER}:id".lower(): match_id("sub"),
        f"{models.USER}:emails.value".lower(): _mailed,
        f"{models.OUR_USER}:name".lower(): match_text("name"),
    }

    def __init__(self, provider: Provider, base: str, by: str) -> None:
        self.provider, self.base, self.by = provider, base, by

    def query(self) -> QuerySet[Member]:
        """All but the removed, in a lasting order."""
        found = Member.objects.exclude(state=State.REMOVED).select_related("owner").annotate(uid=F("entry__number"))
        # a list of thousands of members pays for each column, and twice for a second row of each
        return found.defer("password", "last_login", "owner__created", "owner__updated").order_by("pk")

    def find(self, text: str) -> Member | None:
        found: Member | None = self.query().filter(sub=parse_id(text)).first()
        return found

    @cached_property
    def _groups(self) -> dict[int, Group]:
        return {group.pk: group for group in Group.objects.filter(VISIBLE).select_related("entry").order_by("path")}

    def represent(self, rows: Sequence[Member]) -> list[Resource]:
        """The members as JSON; their groups are asked for once, not once a member."""
        held: dict[int, list[Group]] = {member.pk: [] for member in rows}
        pairs = Member.groups.through.objects.filter(member__in=held, group__in=self._groups)
        for member, group in pairs.values_list("member_id", "group_id"):
            held[member].append(self._groups[group])
        return [self._represent(member, held[member.pk]) for member in rows]

    def _represent(self, member: Member, held: Sequence[Group]) -> Resource:
        """`groups` are those the member is in, with the parents that follow from the facility's."""
        rights = self.provider.table.of(member.name, [group.path for group in held if group.present])
        indigo = self._indigo(member, rights)
        return finish(
            {
                **member.extra,
                "schemas": [models.USER, models.OUR_USER, *([models.INDIGO_USER] if indigo else [])],
                "id": str(member.sub),
                "externalId": member.external,
                "userName": member.username or member.name,
                "displayName": member.display,
                "active": member.is_active,
                "emails": _emails(member),
                "groups": self._memberships(held, rights),
                models.OUR_USER: self._ours(member, rights),
                models.INDIGO_USER: indigo,
            },
            self.kind,
            member,
            f"{self.base}/Users/{member.sub}",
        )

    @cached_property
    def _paths(self) -> dict[str, Group]:
        return {group.path: group for group in self._groups.values()}

    @cached_property
    def _links(self) -> dict[str, Resource]:
        return {path: link(group, self.base) for path, group in self._paths.items()}

    def _memberships(self, held: Sequence[Group], rights: Rights) -> list[Resource]:
        direct = {group.path for group in held}
        indirect = [path for path in rights.groups if path in self._paths and path not in direct]
        return [
            {**self._links[path], "type": "direct" if path in direct else "indirect"} for path in sorted([*direct, *indirect])
        ]

    def _ours(self, member: Member, rights: Rights) -> Resource:
        groups = [(path, self._paths[path].entry) for path in rights.groups if path in self._paths]
        ours = {
            "name": member.name,
            "uidNumber": member.uid,
            "gidNumber": member.uid,
            "groups": [{"path": path, "name": entry.name, "gidNumber": entry.number} for path, entry in groups],
            "state": member.standing,
            "scopes": list(scopes(rights)),
            "kind": member.kind,
        }
        if member.owner:
            ours["owner"] = member.owner.path
        if member.expires:
            ours["expires"] = show_time(member.expires)
        return ours

    def _indigo(self, member: Member, rights: Rights) -> Resource:
        """What INDIGO adds; for an ordinary person only what was written there."""
        indigo: Resource = dict(member.extra.get(models.INDIGO_USER, {}))
        if member.kind == Member.Kind.SERVICE:
            indigo["serviceAccount"] = True
        if member.expires:
            indigo["endTime"] = show_time(member.expires)
        if rights.administer:
            indigo |= {"authorities": ["ROLE_ADMIN", "ROLE_USER"], "managedGroups": list(self._links.values())}
        return indigo

    def create(self, wanted: Resource) -> Resource:
        """Register a member, who is approved at once unless `active` is false. The answer has the join link."""
        refuse_null(wanted)
        username = limit(wanted["userName"], "userName", 200)
        name = self._name(username)
        state = State.ACTIVE if wanted["active"] else State.PENDING
        values = _read(wanted)
        member, join = members.add(
            self.provider, name, (), display=values["display"], email=values["email"], state=state, by=self.by
        )
        Member.objects.filter(pk=member.pk).update(username="" if username == name else username, **values)
        found = self.find(str(member.sub))
        assert found is not None
        resource = self.represent([found])[0]
        resource[models.OUR_USER]["join"] = join
        return resource

    def _name(self, username: str) -> str:
        """The UNIX name: the userName itself, or one derived from it. Raises UniquenessException."""
        if not username.strip() or not username.isprintable():
            raise InvalidValueException(detail="userName is empty or has characters that cannot be shown")
        paths = self.provider.table.groups
        itself = MEMBER.fullmatch(username) is not None
        if itself and (fault := check_member(username, paths)):
            raise InvalidValueException(detail=f"userName {username}: {fault}")
        if self._is_taken(username):
            raise UniquenessException(detail="this name is or was another's; names are never given again")
        if itself:
            return username
        free = (name for name in derive_members(username) if check_member(name, paths) is None)
        seen = Seen.load(self.provider.configuration.seen)  # what the nodes know, and the database has forgotten
        return next(
            name
            for name in free
            if name not in seen.members and name not in seen.groups and not Entry.objects.filter(name=name).exists()
        )

    def _is_taken(self, username: str) -> bool:
        if Entry.objects.filter(name=username).exists():
            return True
        if (where := _named(username).where) is not None:
            return bool(Member.objects.filter(where).exists())
        given = Member.objects.exclude(username="").values_list("username", flat=True)
        return fold(username) in {fold(text) for text in given}

    def update(self, member: Member, wanted: Resource) -> None:
        """Make the member what is wanted: `active` by suspension and resumption, the rest by its columns."""
        refuse_null(wanted)
        values = _read(wanted)
        changed = sorted(name for name, value in values.items() if getattr(member, name) != value)
        if changed:
            Member.objects.filter(pk=member.pk).update(**values, updated=timezone.now())
            passed = settle(self.provider.table)  # as after every change: `membership.expire` counts on it
            members.announce([member, *(each.member for each in passed)])
            self.provider.record("member.changed", member=member.name, changed=changed, by=self.by)
            tell(self.provider, passed, self.by)
        if wanted["active"] != member.is_active:
            self._move(member, wanted["active"])

    def _move(self, member: Member, active: bool) -> None:
        if active and member.state == State.ACTIVE:
            raise MutabilityException(detail=f"the membership ended at {member.expires}; `farmlet user extend` prolongs it")
        verb = "suspend" if not active else "approve" if member.state == State.PENDING else "resume"
        try:
            members.move(self.provider, member.name, verb, self.by)
        except InputError as error:
            raise MutabilityException(detail=error.what) from error

    def delete(self, member: Member) -> None:
        """Remove the member for good; name and number stay theirs."""
        members.move(self.provider, member.name, "remove", self.by)


def _read(wanted: Resource) -> dict[str, Any]:
    """The columns of a member that SCIM writes."""
    emails = wanted.get("emails") or []
    first = next((email for email in emails if email.get("primary")), emails[0] if emails else {})
    return {
        "display": limit(wanted.get("displayName"), "displayName", 200),
        "external": limit(wanted.get("externalId"), "externalId", 200),
        "email": read_email(first.get("value") or ""),
        "extra": keep(wanted, KNOWN, INDIGO),
    }


def _emails(member: Member) -> list[Resource]:
    """The addresses as SCIM wrote them, unless somebody else has set the one that counts since. What came into the database by
    hand and is none is told in a list as little as alone, where the models would refuse it."""
    kept: list[Resource] = member.extra.get("emails", [])
    if not (any(email.get("value") == member.email for email in kept) or (kept and not member.email)):
        kept = [{"value": member.email, "primary": True}] if member.email else []
    return [email for email in kept if _is_address(email.get("value"))]


@lru_cache(maxsize=1 << 15)
def _is_address(value: str | None) -> bool:
    """Kept, since a list of all members asks for each, and it takes 0.1 ms."""
    try:
        return bool(value and read_email(value))
    except InputError:
        return False
