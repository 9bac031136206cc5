"""Groups as SCIM Groups: those of the facility file, and those that programs made here, which give no rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar

from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone
from scim2_models import ConflictException, ForbiddenException, InvalidValueException, MutabilityException, UniquenessException

from farmlet.facility.names import ancestors, check_group, derive_groups, unix_group
from farmlet.parts.identity.service.django.models import Entry, Group, Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.ledger import ensure_entry
from farmlet.parts.identity.service.members.members import announce
from farmlet.parts.identity.service.members.membership import regroup
from farmlet.parts.identity.service.scim import models
from farmlet.parts.identity.service.scim.filters import UNTOLD, Column, Told, match_id, match_text, plain
from farmlet.parts.identity.service.scim.wire import Resource, finish, fold, keep, limit, parse_id, refuse_null

# a group that went out of the facility file is not shown; one that a program made has its displayName for ever
VISIBLE = Q(present=True) | ~Q(display="")
KNOWN = ("schemas", "id", "meta", "externalId", "displayName", "members")
INDIGO = {models.INDIGO_GROUP: ("description", "labels")}


def title(group: Group) -> str:
    """Its displayName: the path, where the facility file has it."""
    return str(group.path if group.present else group.display)


def link(group: Group, base: str) -> Resource:
    """A reference to the group."""
    return {"value": str(group.uid), "$ref": f"{base}/Groups/{group.uid}", "display": title(group)}


def _titled(value: Any) -> Told:
    if not plain(value):
        return UNTOLD
    return Told(Q(present=True, path__iexact=value) | Q(present=False, display__iexact=value))


def _peopled(value: Any) -> Told:
    found = Member.objects.filter(sub=parse_id(value)).exclude(state=Member.State.REMOVED)
    return Told(Q(pk__in=Group.objects.filter(members__in=found).values("pk")))


class Groups:
    """`base` is the URL that SCIM is reached by; `by` goes into the audit log with each change."""

    kind = "Group"
    model = models.FullGroup
    columns: ClassVar[Mapping[str, Column]] = {
        f"{models.GROUP}:displayName".lower(): _titled,
        f"{models.GROUP}:externalId".lower(): match_text("external"),
        f"{models.GROUP}:id".lower(): match_id("uid"),
        f"{models.GROUP}:members.value".lower(): _peopled,
    }

    def __init__(self, provider: Provider, base: str, by: str) -> None:
        self.provider, self.base, self.by = provider, base, by

    def query(self) -> QuerySet[Group]:
        """All that are to be seen, in a lasting order, with their members as `people`."""
        people = Member.objects.exclude(state=Member.State.REMOVED).only("sub", "name", "username").order_by("pk")
        found = Group.objects.filter(VISIBLE)
        return found.prefetch_related(Prefetch("members", people, to_attr="people")).order_by("pk")

    def find(self, text: str) -> Group | None:
        found: Group | None = self.query().filter(uid=parse_id(text)).first()
        return found

    @cached_property
    def _paths(self) -> dict[str, Group]:
        return {group.path: group for group in Group.objects.filter(VISIBLE)}

    def represent(self, rows: Sequence[Group]) -> list[Resource]:
        """The groups as JSON."""
        return [self._represent(group) for group in rows]

    def _represent(self, group: Group) -> Resource:
        indigo = dict(group.extra.get(models.INDIGO_GROUP, {}))
        parent = next((self._paths[path] for path in reversed(ancestors(group.path)) if path in self._paths), None)
        if parent:
            indigo["parentGroup"] = link(parent, self.base)
        return finish(
            {
                **group.extra,
                "schemas": [models.GROUP, *([models.INDIGO_GROUP] if indigo else [])],
                "id": str(group.uid),
                "externalId": group.external,
                "displayName": title(group),
                "members": [self.refer(member) for member in group.people],
                models.INDIGO_GROUP: indigo,
            },
            self.kind,
            group,
            f"{self.base}/Groups/{group.uid}",
        )

    def refer(self, member: Member) -> Resource:
        """A reference to a member."""
        return {"value": str(member.sub), "$ref": f"{self.base}/Users/{member.sub}", "type": "User"}

    def create(self, wanted: Resource) -> Resource:
        """Make a group that gives no rights."""
        refuse_null(wanted)
        display = self._title(wanted)
        path = self._path(display)
        entry = ensure_entry(self.provider.configuration, unix_group(path))
        group = Group.objects.create(path=path, entry=entry, display=display, present=False, **_read(wanted))
        self.provider.record("group.added", group=path, display=display, by=self.by)
        if joining := self._members(wanted):
            regroup(self.provider, group, joining, (), self.by)
        found = self.find(str(group.uid))
        assert found is not None
        return self._represent(found)

    def _title(self, wanted: Resource, known: Group | None = None) -> str:
        """The displayName wanted, if no other group has it, compared without case. Raises UniquenessException."""
        display = limit(wanted["displayName"], "displayName", 200)
        if not display.strip() or not display.isprintable():
            raise InvalidValueException(detail="displayName is empty or has characters that cannot be shown")
        others = [group for group in Group.objects.filter(VISIBLE) if known is None or group.pk != known.pk]
        if fold(display) in {fold(title(group)) for group in others}:
            raise UniquenessException(detail="another group has this displayName")
        return display

    def _path(self, display: str) -> str:
        """The displayName itself where it is a path, else one derived from it. Raises UniquenessException."""
        wanted = [display] if check_group(display) is None else []
        for path in chain(wanted, derive_groups(display)):
            if check_group(path) is None and self._is_free(path):
                return path
            if path == display and wanted:
                raise UniquenessException(detail="this group path is or was another's")
        raise AssertionError("names do not end")

    def _is_free(self, path: str) -> bool:
        # a group of this name that a program made and deleted comes back with its old number
        entry = Entry.objects.filter(name=unix_group(path)).first()
        unused = entry is None or (entry.kind == Entry.Kind.GROUP and not Group.objects.filter(entry=entry).exists())
        return unused and not Group.objects.filter(path=path).exists()

    def _members(self, wanted: Resource) -> list[Member]:
        """The members wanted. Raises InvalidValueException for one who is none."""
        given = {item.get("value") or (item.get("$ref") or "").rpartition("/")[2]: item for item in wanted.get("members") or []}
        if strange := [text for text, item in given.items() if item.get("type") not in (None, "User")]:
            raise InvalidValueException(detail=f"{strange[0]} is to be no User; groups are nested by their paths")
        found = Member.objects.filter(sub__in=[parse_id(text) for text in given if parse_id(text)])
        known = {str(member.sub): member for member in found.exclude(state=Member.State.REMOVED)}
        if missing := [text for text in given if text not in known]:
            raise InvalidValueException(detail=f"{missing[0]!r} is no member's id")
        return list(known.values())

    def update(self, group: Group, wanted: Resource) -> None:
        """Make the group what is wanted. Raises MutabilityException for another name of a facility file's group."""
        refuse_null(wanted)
        values = _read(wanted)
        if wanted["displayName"] != title(group):
            if group.present:
                raise MutabilityException(detail=f"{group.path} is named in the facility file; its displayName is for ever")
            values["display"] = self._title(wanted, group)
        changed = sorted(name for name, value in values.items() if getattr(group, name) != value)
        if changed:
            Group.objects.filter(pk=group.pk).update(**values, updated=timezone.now())
            self.provider.record("group.changed", group=group.path, changed=changed, by=self.by)
        before, after = {member.pk: member for member in group.people}, {member.pk: member for member in self._members(wanted)}
        joining = [member for key, member in after.items() if key not in before]
        leaving = [member for key, member in before.items() if key not in after]
        if joining or leaving:
            regroup(self.provider, group, joining, leaving, self.by)
            Group.objects.filter(pk=group.pk).update(updated=timezone.now())

    def delete(self, group: Group) -> None:
        """Delete a group that a program made. Raises ForbiddenException for one of the facility file."""
        if group.present:
            raise ForbiddenException(detail=f"{group.path} is in the facility file: take it out there, then `farmlet up`")
        if group.services.exists():
            raise ConflictException(detail=f"{group.path} owns service members")
        announce(group.people)
        path = group.path
        group.delete()
        self.provider.record("group.deleted", group=path, by=self.by)


def _read(wanted: Resource) -> dict[str, Any]:
    """The columns of a group that SCIM writes."""
    return {
        "external": limit(wanted.get("externalId"), "externalId", 200),
        "extra": keep(wanted, KNOWN, INDIGO),
    }
