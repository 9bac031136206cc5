"""Who keeps members, for the tests of the seam: our real service, and the stand-in for an INDIGO IAM."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Protocol

from issuer import RIGHTS, Service

from farmlet.parts.accounts.source.builtin import Builtin
from farmlet.parts.accounts.source.indigo import Indigo
from farmlet.parts.accounts.source.ledger import Ledger
from farmlet.parts.accounts.source.membership import Member, MembershipSource
from farmlet.parts.accounts.source.scim import Reader
from indigo import CLIENT, EXTENSION, SECRET, Iam


class House(Protocol):
    """Whoever keeps members, with what is done to them there."""

    reader: Reader
    source: MembershipSource
    elsewhere: MembershipSource  # the same, where nobody answers

    def add(self, name: str, *groups: str) -> None: ...
    def add_service(self, name: str, group: str) -> None: ...
    def move(self, verb: str, name: str) -> None: ...
    def expire(self, name: str, at: datetime) -> None: ...
    def regroup(self, name: str, *groups: str) -> None: ...


class Ours:
    def __init__(self, service: Service) -> None:
        self._service = service
        secret = service.folder / "accounts.secret"
        self.reader = Reader(service.issuer, "accounts", secret, service.cafile)
        self.source = Builtin(self.reader)
        self.elsewhere = Builtin(Reader("https://localhost:1", "accounts", secret, service.cafile))

    def add(self, name: str, *groups: str) -> None:
        self._service.do("member", "add", name, *(f"--group={group}" for group in groups), "--title", "Some Body")

    def add_service(self, name: str, group: str) -> None:
        self._service.do("member", "add", name, "--service", f"--owner={group}", f"--group={group}")

    def move(self, verb: str, name: str) -> None:
        self._service.do("member", verb, name)

    def expire(self, name: str, at: datetime) -> None:
        self._write("UPDATE identity_member SET expires = ? WHERE name = ?", at.strftime("%Y-%m-%d %H:%M:%S"), name)

    def regroup(self, name: str, *groups: str) -> None:
        mine = "(SELECT id FROM identity_member WHERE name = ?)"
        self._write(f"DELETE FROM identity_member_groups WHERE member_id = {mine}", name)
        insert = "INSERT INTO identity_member_groups (member_id, group_id) SELECT m.id, g.id"
        for group in groups:
            self._write(f"{insert} FROM identity_member m, identity_group g WHERE m.name = ? AND g.path = ?", name, group)

    def _write(self, statement: str, *values: str) -> None:
        with sqlite3.connect(self._service.folder / "db" / "db.sqlite3", timeout=20) as connection:
            assert connection.execute(statement, values).rowcount
        connection.close()


class Theirs:
    def __init__(self, iam: Iam, folder: Path) -> None:
        self.iam, self._secret = iam, folder / "secret"
        self._secret.write_text(f"{SECRET}\n")
        self.ledger = Ledger(folder / "ledger.sqlite3", 20000, 30000)
        self.reader = Reader(iam.issuer, CLIENT, self._secret)
        self.source = self.make(self.reader)
        self.elsewhere = self.make(Reader("http://localhost:1/", CLIENT, self._secret))

    def make(self, reader: Reader) -> Indigo:
        return Indigo(reader, self.ledger, list(RIGHTS.groups), "vo/af", seconds=0.3)

    def add(self, name: str, *groups: str) -> None:
        self.iam.add(name, *(f"vo/af/{group}" for group in groups))

    def add_service(self, name: str, group: str) -> None:
        self.add(name, group)
        self.iam.find(name)[EXTENSION]["serviceAccount"] = True

    def move(self, verb: str, name: str) -> None:
        if verb == "remove":
            self.iam.remove(name)
        else:
            self.iam.find(name)["active"] = verb == "resume"

    def expire(self, name: str, at: datetime) -> None:
        self.iam.expire(name, at)

    def regroup(self, name: str, *groups: str) -> None:
        self.iam.leave(name, "vo")
        for group in groups:
            self.iam.join(name, f"vo/af/{group}")


def look(source: MembershipSource) -> dict[str, Member]:
    return {member.name: member for member in source.read().members}
