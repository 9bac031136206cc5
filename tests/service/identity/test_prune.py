"""What has ended is deleted, what lives stays, and readers of the feed lose nothing by it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browser import Browser
from issuer import Service
from test_registration import Registrar, execute, forget

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def paul(service: Service) -> Browser:
    return service.join("paul")[0]


@pytest.fixture(scope="module")
def reader(service: Service) -> str:
    return service.read_token()


@pytest.fixture
def registrar(service: Service) -> Iterator[Registrar]:
    forget(service)
    yield Registrar(service)
    forget(service)


def prune(service: Service) -> dict[str, int]:
    found: dict[str, int] = json.loads(service.do("prune", "--json"))
    return found


def count(service: Service, table: str, where: str = "true") -> int:
    found: int = execute(service, f"select count(*) from {table} where {where}")[0][0]
    return found


def ago(**past: float) -> str:
    """A moment as SQLite keeps it."""
    return (datetime.now(UTC) - timedelta(**past)).strftime("%Y-%m-%d %H:%M:%S.%f")


def test_what_has_ended_goes_and_what_lives_stays(service: Service, paul: Browser) -> None:
    prune(service)
    kept, ended = service.connect(paul), service.connect(paul)
    name = ended["refresh_token"].partition(".")[0].replace("-", "")
    execute(service, f"update identity_connection set expires = '{ago(seconds=1)}' where id = '{name}'")
    waiting, old = service.begin(), service.begin()
    code = old["user_code"].replace("-", "")
    execute(service, f"update identity_devicegrant set expires = '{ago(hours=25)}' where user_code = '{code}'")
    execute(service, f"insert into identity_revokedtoken values ('old', '{ago(minutes=2)}'), ('live', '{ago(minutes=-2)}')")
    execute(service, f"insert into identity_attempt (account, address, failures, last) values ('a', 'b', 9, '{ago(hours=2)}')")
    execute(service, f"insert into django_session values ('gone', '', '{ago(seconds=1)}')")
    service.do("member", "add", "petra2", "--group=lab")
    execute(service, f"update identity_invitation set expires = '{ago(seconds=1)}' where used is null")
    found = prune(service)
    assert found["connections"] == found["device grants"] == found["revoked tokens"] == found["sessions"] == 1
    assert found["attempts"] >= 1 and found["invitations"] >= 1
    assert service.refresh(kept["refresh_token"]).status == 200
    assert service.redeem(waiting).body["error"] == "authorization_pending"
    assert service.redeem(old).body["error"] == "invalid_grant"
    assert execute(service, "select jti from identity_revokedtoken where jti in ('old', 'live')") == [("live",)]
    assert "Logged in as paul" in paul.open(f"{service.issuer}/").text
    assert not any(prune(service).values()), "there is nothing to do twice"


def test_rows_stay_bounded_by_what_lives(service: Service, paul: Browser) -> None:
    """Members that change and clients that refresh leave no trail."""
    prune(service)
    tables = ("identity_connection", "identity_change", "identity_invitation", "identity_devicegrant")
    token = service.connect(paul)["refresh_token"]
    before = {table: count(service, table) for table in tables}
    for _ in range(20):
        token = service.refresh(token).body["refresh_token"]
    for verb in ("suspend", "resume"):
        service.do("member", verb, "petra2")
    prune(service)
    assert {table: count(service, table) for table in tables} == before


def test_a_reader_with_an_old_cursor_still_hears_of_everybody(service: Service, reader: str) -> None:
    def changes(cursor: int) -> dict[str, Any]:
        return service.request(f"/scim/v2/changes?cursor={cursor}", bearer=reader).body

    start = changes(0)["cursor"]
    subs = [service.member("add", name, "--group=lab")["sub"] for name in ("quinn", "quentin")]
    service.do("member", "suspend", "quinn")
    end = changes(0)["cursor"]
    answers = {cursor: set(changes(cursor)["changed"]) for cursor in range(start, end + 1)}
    assert answers[start] == set(subs) and answers[end - 1] == {subs[0]}
    assert prune(service)["changes"] >= 1
    # never less than before, and at the newest cursor nothing
    for cursor, before in answers.items():
        after = changes(cursor)
        assert after["cursor"] == end and before == set(after["changed"]), cursor
    assert set(changes(0)["changed"]) >= set(subs)


def test_registered_clients_that_are_not_used(service: Service, registrar: Registrar, paul: Browser) -> None:
    made = {name: registrar.register(token_endpoint_auth_method="none")["client_id"] for name in ("new", "never", "idle", "busy")}
    tokens = {name: service.connect(paul, made[name])["refresh_token"] for name in ("idle", "busy")}
    assert count(service, "identity_client", f"client_id = '{made['busy']}' and used is not null") == 1
    sql = "update identity_client set {} = '{}' where client_id = '{}'"
    for name in ("never", "idle", "busy"):
        execute(service, sql.format("created", ago(days=200), made[name]))
    execute(service, sql.format("used", ago(days=91), made["idle"]))
    execute(service, sql.format("used", ago(days=89), made["busy"]))
    execute(service, f"update identity_client set created = '{ago(days=200)}', used = null where registration = ''")
    own = count(service, "identity_client", "registration = ''")
    assert prune(service)["clients"] == 2
    left = {row[0] for row in execute(service, "select client_id from identity_client where registration != ''")}
    assert left >= {made["new"], made["busy"]} and not left & {made["never"], made["idle"]}
    assert count(service, "identity_client", "registration = ''") == own, "the facility's own clients never go"
    assert service.refresh(tokens["busy"], made["busy"]).status == 200
    assert service.refresh(tokens["idle"], made["idle"]).status in (400, 401)  # 400: its entry is still kept for some seconds
    assert count(service, "identity_client", f"client_id = '{made['busy']}' and used > '{ago(minutes=5)}'") == 1


def test_use_is_noted_once_an_hour(service: Service, registrar: Registrar, paul: Browser) -> None:
    name = registrar.register(token_endpoint_auth_method="none")["client_id"]
    token = service.connect(paul, name)["refresh_token"]
    seen = f"select used from identity_client where client_id = '{name}'"
    first = execute(service, seen)
    token = service.refresh(token, name).body["refresh_token"]
    assert execute(service, seen) == first
    execute(service, f"update identity_client set used = '{ago(minutes=61)}' where client_id = '{name}'")
    deadline = time.monotonic() + 10  # what the service knows of a client is up to 5 s old
    while execute(service, seen) <= first:
        assert time.monotonic() < deadline
        token = service.refresh(token, name).body["refresh_token"]
        time.sleep(0.5)
