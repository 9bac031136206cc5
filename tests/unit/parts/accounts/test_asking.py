"""Whether who logs in may still, asked of an INDIGO IAM in that moment (its stand-in)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.accounts import asking
from farmlet.parts.accounts.source.logins import Logins
from farmlet.parts.accounts.source.scim import Reader
from farmlet.runtime import rows
from indigo import CLIENT, EXTENSION, SECRET, Iam

NODE = "head.lab.test"
TABLE = Table({"lab": GroupRights(login=True), "guests": GroupRights()})


@pytest.fixture
def iam() -> Iterator[Iam]:
    found = Iam()
    found.add("Ada", "vo/lab")
    yield found
    found.close()


class House:
    """`now` is the clock of who is asked."""

    def __init__(self, iam: Iam, folder: Path, secret: str = SECRET) -> None:
        self.now, self.iam, self.folder = 0.0, iam, folder
        (folder / "secret").write_text(secret)
        listed = [{"name": "root", "sub": "x"}, {"name": "ada", "sub": iam.find("Ada")["id"]}]
        (folder / "accounts").write_bytes(rows.dump(listed))
        reader = Reader(iam.issuer, CLIENT, folder / "secret")
        self.logins = Logins(folder / "logins")
        self.app = asking.Asking(reader, folder / "accounts", TABLE, "vo", [NODE], folder / "logins", clock=lambda: self.now)

    def ask(self, name: str = "ada", node: str = f"CN={NODE}", path: str = "/accounts/login") -> tuple[int, str]:
        data, said = name.encode(), list[str]()
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_LENGTH": str(len(data)), "wsgi.input": io.BytesIO(data)}
        if node:
            environ["HTTP_X_FARMLET_NODE"] = node
        body = b"".join(self.app(environ, lambda status, headers: said.append(status)))
        return int(said[0].split()[0]), body.decode()


@pytest.fixture
def house(iam: Iam, tmp_path: Path) -> House:
    return House(iam, tmp_path)


CHANGES: dict[str, Callable[[Iam], object]] = {
    "you are suspended": lambda iam: iam.find("Ada").update(active=False),
    "your membership has ended": lambda iam: iam.expire("Ada", datetime.now(UTC) - timedelta(minutes=1)),
    "it does not know you any more": lambda iam: iam.remove("Ada"),
    "you are in no group that logs in here": lambda iam: (iam.leave("Ada", "vo"), iam.join("Ada", "vo/guests")),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_change_at_the_issuer_counts_at_the_very_next_log_in(iam: Iam, house: House, reason: str) -> None:
    assert house.ask() == (204, "")
    CHANGES[reason](iam)
    status, said = house.ask()
    assert status == 200 and said.startswith(f"You cannot log in: {iam.issuer} says that {reason}.")
    assert house.logins.take() == {"ada"}, "the daemon ends what else they have here"


def test_who_was_suspended_and_is_back_is_let_in(iam: Iam, house: House) -> None:
    iam.find("Ada")["active"] = False
    assert house.ask()[0] == 200
    iam.find("Ada")["active"] = True
    assert house.ask()[0] == 204


@pytest.mark.parametrize("name", ["nobody", "../x", "\0", "ada\n"])
def test_whose_account_is_not_ours_is_not_asked_for(iam: Iam, house: House, name: str) -> None:
    assert house.ask(name) == (204, "") and not iam.asked


def test_an_issuer_that_is_away_refuses_nobody_and_is_let_rest(iam: Iam, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    iam.find("Ada")["active"] = False
    (house.folder / "secret").write_text("wrong")
    assert house.ask()[0] == 204
    (house.folder / "secret").write_text(SECRET)
    assert house.ask()[0] == 204 and not iam.asked
    house.now += asking.REST_SECONDS
    assert house.ask()[0] == 200


ODD: list[dict[str, object]] = [
    {"groups": 7},
    {"groups": [{}]},
    {"id": "another", "active": False},
    {EXTENSION: {"endTime": "soon"}},
    {EXTENSION: 7},
]


@pytest.mark.parametrize("odd", ODD)
def test_an_entry_that_cannot_be_read_refuses_nobody(iam: Iam, house: House, odd: dict[str, object]) -> None:
    """The daemon tells of it, and what was known last goes on."""
    sub = iam.find("Ada")["id"]
    iam.by_id = lambda asked: iam.users[0] if asked == sub else None  # type: ignore[method-assign]
    iam.users[0].update(odd)
    assert house.ask()[0] == 204


def test_only_nodes_ask(house: House) -> None:
    assert house.ask(node="")[0] == house.ask(node="CN=other")[0] == 403
    assert house.ask(path="/accounts/other")[0] == 404
    assert house.ask("x" * 300)[0] == 413
