"""What must hold on SQLite and on PostgreSQL alike: many at once, a database with a password, a server that restarts."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
from browser import Browser
from issuer import Service, write_config

pytestmark = pytest.mark.service

START = """
import sys
from pathlib import Path
from farmlet.parts.identity.service.django.configuration import load_configuration
from farmlet.parts.identity.service.django.project import start

provider = start(load_configuration(Path(sys.argv[1])), "-")
"""
CROWD = """
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from farmlet.parts.identity.service.members import members
from farmlet.parts.identity.service.django.models import Change

done, seen, late = Event(), [], []


def watch():
    while not done.is_set():
        last = max(seen, default=0)
        ids = list(Change.objects.order_by("id").values_list("id", flat=True))
        late.extend(id for id in ids if id <= last and id not in seen)
        seen[:] = ids


def add(number):
    member, _ = members.add(
        provider, f"crowd{number}", ["lab"], display="", email="", state="active", by="test"
    )
    return member.number


with ThreadPoolExecutor(9) as pool:
    watcher = pool.submit(watch)
    try:
        numbers = list(pool.map(add, range(40)))
    finally:
        done.set()
    watcher.result()
print(json.dumps({"numbers": numbers, "late": late}))
"""


def run(service: Service, script: str) -> str:
    done = subprocess.run([sys.executable, "-c", START + script, str(service.config)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


def beside(service: Service, folder: Path, database: str = "") -> Service:
    """A service of the same sort with a database of its own, not running."""
    other = Service(service.issuer, folder, "", database)
    (folder / "db").mkdir()
    write_config(other, passfile=str(folder / "pgpass"))
    return other


def test_members_added_at_once_get_numbers_of_their_own_and_stand_in_the_feed_in_order(service: Service) -> None:
    answer = json.loads(run(service, CROWD))
    assert len(set(answer["numbers"])) == 40
    assert answer["late"] == []  # a reader with a cursor would never hear of these


def test_eight_refreshes_at_once(service: Service) -> None:
    browser: Browser = service.join("ines")[0]
    first = service.connect(browser)["refresh_token"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: service.refresh(first), range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda answer: service.refresh(answer.body["refresh_token"]).status, answers))
    assert again.count(200) == 1, again


@pytest.mark.parametrize("name", ["a\0b", "a' OR '1'='1", "\udcff", "x" * 9999])
def test_client_names_that_no_database_may_choke_on(service: Service, name: str) -> None:
    answer = service.token({"grant_type": "client_credentials", "client_id": name.encode("utf-8", "replace").decode()})
    assert (answer.status, answer.body["error"]) == (401, "invalid_client")


def test_every_connection_waits_for_the_disk(service: Service) -> None:
    """Also with a server whose administrators have turned that off, like that of these tests; and again after a refresh."""
    question = "SHOW synchronous_commit" if service.database else "PRAGMA synchronous"
    script = f"""
from django.db import connection
from farmlet.parts.identity.service.django.databases import deferred

def ask():
    with connection.cursor() as cursor:
        return cursor.execute({question!r}).fetchone()[0]

before = ask()
with deferred():
    print(ask())
print(before == ask(), before)
"""
    assert run(service, script).split() == (["on", "True", "on"] if service.database else ["1", "True", "2"])


@pytest.mark.once
def test_the_password_comes_from_the_passfile(service: Service, server: postgres.Server, tmp_path: Path) -> None:
    server.run("CREATE ROLE guarded LOGIN PASSWORD 'of the database'")
    other = beside(service, tmp_path, server.create("guarded", "guarded"))
    refused = other.run("migrate")
    assert refused.returncode == 1 and "Traceback" not in refused.stderr and "password" in refused.stderr
    file = tmp_path / "pgpass"
    file.touch(0o600)
    file.write_text("*:*:guarded:guarded:of the database\n")
    other.do("migrate")
    assert other.do("member", "list") == "[]\n"


@pytest.mark.parametrize("service", ["postgresql"], indirect=True)
def test_the_service_outlives_a_restart_of_the_database(service: Service, server: postgres.Server) -> None:
    form = {"grant_type": "client_credentials"}
    assert service.token(form, service.basic("accounts")).status == 200
    server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'farmlet'")
    assert service.token(form, service.basic("accounts")).status == 200
