"""What every refresh reads, as statements written out.

Django takes far longer to write these than the database to answer: with its query sets a refresh takes half as long again.
"""

from __future__ import annotations

import uuid

from django.db import connection as database

from farmlet.parts.identity.service.django.models import Connection, Group, Member

CONNECTION = f"SELECT * FROM {Connection._meta.db_table} WHERE id = %s"
MEMBER = f"SELECT * FROM {Member._meta.db_table} WHERE id = %s"
PATHS = f"""
SELECT g.path FROM {Group._meta.db_table} g JOIN {Member.groups.through._meta.db_table} m ON m.group_id = g.id
WHERE m.member_id = %s AND g.present
"""


def find_connection(key: uuid.UUID) -> Connection | None:
    """The connection of that id, with its member."""
    value = Connection._meta.pk.get_db_prep_value(key, database)
    found: Connection | None = next(iter(Connection.objects.raw(CONNECTION, [value])), None)
    if found is not None:
        found.member = next(iter(Member.objects.raw(MEMBER, [found.member_id])))
    return found


def find_paths(member: Member) -> list[str]:
    """The groups the member was put in that the facility still has, as `Member.paths`."""
    with database.cursor() as cursor:
        cursor.execute(PATHS, [member.pk])
        return [path for (path,) in cursor.fetchall()]
