"""Limits of storage paths, as members meet them through the real XRootD on the sandbox's own disk."""

from __future__ import annotations

import json
import re

import pytest
from element import DATA, Element, find
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.lane("edit"), pytest.mark.usefixtures("running"), pytest.mark.timeout(900)]
MIB = 1 << 20
# The facility file of this lane has `storage: {limits: {/users/pia: 32M, /users/paul: 96M, /data: 48M}}`.
SIZE = 60 * MIB


@pytest.fixture(scope="module")
def people(sandbox: Sandbox, running: Sandbox) -> dict[str, str]:
    """Members with a token for their folder each; the limits were there before they were."""
    made = {}
    for name, group in (("pia", "lab"), ("paul", "lab/production")):
        person = Person.join(sandbox, name, group)
        until(lambda name=name: name in sandbox.exec("head", f"ls {DATA}/users"), 30)
        place = "/data" if group == "lab/production" else f"/users/{name}"
        made[name] = person.authorise(f"storage.read:/ storage.modify:/users/{name} storage.modify:{place}").access_token
    return made


@pytest.fixture(scope="module")
def here(people: dict[str, str], sandbox: Sandbox) -> Element:
    return find(sandbox)[0]


def is_full(here: Element, path: str, token: str) -> bool:
    """Whether an upload of SIZE is refused for want of room, with that reason, before it is sent."""
    connection = here.connect()
    connection.putrequest("PUT", path)
    for name, value in (("Authorization", f"Bearer {token}"), ("Content-Length", str(SIZE)), ("Expect", "100-continue")):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    return answer.status >= 500 and b"disk quota exceeded" in said


def stored(sandbox: Sandbox, path: str) -> str:
    return sandbox.exec("head", f"ls {DATA}{path}")


def test_a_full_path_is_told_and_nothing_half_is_left(people: dict[str, str], here: Element, sandbox: Sandbox) -> None:
    assert here.put("/users/pia/fits", people["pia"], b"fits") == 201
    assert is_full(here, "/users/pia/big", people["pia"])
    until(lambda: stored(sandbox, "/users/pia") == "fits", 30)
    assert here.get("/users/pia/fits", people["pia"]) == 200
    assert here.put("/users/paul/big", people["paul"], bytes(SIZE)) == 201, "one path has more than all others"
    assert is_full(here, "/data/big", people["paul"])
    (told,) = sandbox.json("check", "storage.limits")
    assert re.match(r"\d+ paths are kept to their limits", told["evidence"])


def test_a_path_cannot_be_replaced_by_one_without_a_limit(people: dict[str, str], here: Element, sandbox: Sandbox) -> None:
    token = people["pia"]
    assert here.ask("DELETE", "/users/pia/fits", token).status in (200, 204)
    assert here.ask("DELETE", "/users/pia", token).status >= 400
    assert here.ask("DELETE", "/users/pia/", token).status >= 400
    move = {"Destination": f"{here.url}/users/pia/in/itself"}
    assert here.ask("MOVE", "/users/pia", token, headers=move).status >= 400
    assert is_full(here, "/users/pia/big", token)
    assert here.put("/users/pia/deep/er/fits", token, b"fits") == 201


SCRIPT = """
cd $(mktemp -d); umask 077; printf %s '{token}' > token; head -c {size} /dev/zero > big
BEARER_TOKEN_FILE=$PWD/token xrdcp -f big roots://{host}/{path} 2>&1 || echo xrdcp ended with $?
printf 'header = "Authorization: Bearer %s"\n' "$(cat token)" > header
curl -sS --fail-with-body --location -K header -T big https://{host}:8443{path} 2>&1 || echo curl ended with $?
"""


def test_the_programs_of_members_tell_it(people: dict[str, str], sandbox: Sandbox) -> None:
    values = {"token": people["pia"], "size": SIZE, "host": f"head.{sandbox.domain}", "path": "/users/pia/big"}
    said = sandbox.exec("head", SCRIPT.format(**values))
    assert said.lower().count("quota exceeded") == 2 and "xrdcp ended with" in said and "curl ended with" in said
    until(lambda: "big" not in stored(sandbox, "/users/pia"), 30)


def test_a_larger_size_counts_and_none_is_none(people: dict[str, str], here: Element, sandbox: Sandbox) -> None:
    path = sandbox.folder / "facility.yaml"
    path.write_text(path.read_text().replace("/users/pia: 32M, ", "/users/pia: 96M, ").replace(", /data: 48M", ""))
    sandbox.run("up")
    until(lambda: here.put("/users/pia/big", people["pia"], bytes(SIZE)) == 201, 30)
    assert here.put("/data/big", people["paul"], bytes(SIZE)) == 201
    usage = json.loads(sandbox.exec("head", "systemctl start farmlet-storage-usage; cat /var/lib/farmlet/storage/usage.json"))
    sizes = {row["path"]: row["bytes"] for row in usage["paths"]}
    assert sizes["/users/pia"] == SIZE + 4 and sizes["/data"] >= SIZE
