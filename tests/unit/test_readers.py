"""Whatever one member writes, where our programs read it: it costs that one thing of theirs, and the others are read as before.

A reader of what members write belongs here, with something good on both sides of what is odd. Forms of the identity service and
of pages have tests of their own beside them.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmlet.errors import InputError
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.access import adoption, certificates
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.difference import diff
from farmlet.parts.accounts.source import builtin, indigo
from farmlet.parts.accounts.source.ledger import Ledger
from farmlet.parts.accounts.source.membership import MembershipSource
from farmlet.parts.base.examiner import show
from farmlet.parts.batch import deprovisioning, metrics
from farmlet.parts.identity.service.scim import models, wire
from farmlet.parts.overlay import demand
from farmlet.parts.storage import usage
from farmlet.parts.tokens import credential, credmon, queue
from farmlet.runtime import ads, oauth, rows

WORDS = ["", "a b", "a\tb", "1\n2", "-1", "/Expr(1)/", "\0", "\ud800", "\x1b[2J", "../x", "é", '"', "x" * 3000]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*WORDS, 10**400, -5]) | st.text()
JUNK = st.recursive(SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(), one, max_size=3), max_leaves=6)
# folders of tests are made anew by the examples themselves where they matter
EVERY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def changed(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the attributes, each with anything in it."""
    return st.dictionaries(st.sampled_from(names), JUNK, min_size=1)


def dump(*rows: Any) -> bytes:
    return json.dumps(rows).encode()


# queues

JOB: dict[str, Any] = {"Owner": "ada", "ClusterId": 1, "ProcId": 0, "JobUniverse": 5, "JobStatus": 1, "RequestCpus": 1}
# what HTCondor sets itself, and nobody else can
WRITTEN = ["JobStatus", "JobUniverse", *demand.WRITTEN, "OAuthServicesNeeded", "HoldReasonSubCode"]


@EVERY
@given(changed(WRITTEN))
def test_demand(odd: dict[str, Any]) -> None:
    found = demand.parse(dump(JOB, JOB | odd | {"Owner": "eve"}, JOB))
    assert found.jobs[0] == found.jobs[-1] == demand.Job(demand.IDLE, number="1.0 of ada")
    assert len(found.jobs) + found.odd["eve"] == 3
    drone = demand.Shape(2, 1000)
    assert 2 <= demand.add(found.jobs, drone, maximum=100) <= 2 + drone.cores


@EVERY
@given(changed(WRITTEN))
def test_ends_of_memberships(odd: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deprovisioning, "_read", lambda words: dump(JOB, JOB | odd | {"Owner": "eve"}, JOB | {"Owner": "bob"}))
        assert {owner for owner, _ in deprovisioning._list("")} == {"ada", "bob", "eve"}


@EVERY
@given(changed(WRITTEN))
def test_counts_of_jobs(odd: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "run", lambda *command: dump(JOB, JOB | odd).decode())
        found = [one.value for one in metrics.count_jobs(["lab"], ["tier1"]) if one.name == "batch_jobs"]
        assert sum(found) in (1, 2)


@EVERY
@given(changed(WRITTEN))
def test_jobs_that_need_credentials(odd: dict[str, Any]) -> None:
    good = JOB | {"OAuthServicesNeeded": "farmlet"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "run", lambda words, **_: dump(good, good | odd | {"Owner": "eve"}, good))
        jobs = queue.load_jobs()
    assert [job.number for job in jobs if job.owner == "ada"] == ["1.0", "1.0"]
    assert all(credential.SERVICE.fullmatch(name) for job in jobs for name in job.services)


@given(st.binary() | st.sampled_from([b"[" * 100_000, b'[{"JobStatus": 1e999}]', b"[NaN, {}]"]))
def test_answers_of_any_kind(said: bytes) -> None:
    try:
        for ad in ads.read(said):
            ads.number(ad, "JobStatus", 10), ads.whole(ad, "JobStatus"), ads.text(ad, "JobStatus")
    except ValueError:
        return


# stored credentials

STORED = st.binary() | JUNK.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000)


@given(
    STORED
    | changed(["issuer", "client_id", "refresh_token", "of", "scopes", "audience"]).map(lambda odd: json.dumps(odd).encode())
)
def test_a_credential(data: bytes) -> None:
    for parse in (credential.Wish.parse, lambda data: credential.Credential.parse(data, ["https://i"])):
        with suppress(credential.Unusable):
            parse(data)
    assert math.isfinite(credential.read_end(data))


@given(JUNK | st.dictionaries(st.just("exp"), JUNK))
def test_the_end_of_a_token(claims: Any) -> None:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    assert math.isfinite(credential.read_end(b"h." + part + b".s"))


class Generous:
    """Issuers that give everybody a token."""

    urls = ("https://i",)
    is_silent, rest, hurry = (lambda self, issuer: False), (lambda self, issuer: 0.0), (lambda self, issuer: None)

    def refresh(self, found: credential.Credential, scope: str, audience: str) -> oauth.Tokens:
        return oauth.Tokens("h.e30.s", "", 3600, "")


@EVERY
@given(
    st.dictionaries(st.sampled_from(["farmlet.top", "x.top", "farmlet.use", "x.refused", "farmlet.refused"]), STORED, min_size=1)
)
def test_the_monitor(tmp_path_factory: pytest.TempPathFactory, files: Mapping[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("credentials")
    stored = {"eve": files, **{name: {"farmlet.top": json.dumps(good).encode()} for name in ("bob", "zoe")}}
    for name, held in stored.items():
        (root / name).mkdir()
        for file, data in held.items():
            (root / name / file).write_bytes(data)
    credmon.Monitor(root, Generous()).sweep()  # type: ignore[arg-type]
    assert all((root / name / "farmlet.use").read_bytes() == b"h.e30.s" for name in ("bob", "zoe"))
    assert queue.find_fault(root / "eve", "farmlet") is not None


good = {"issuer": "https://i", "client_id": "c", "refresh_token": "r"}

# members, as their sources tell them

TABLE = Table({"lab": GroupRights(login=True, batch_share=1)})
LAYOUT = state.Layout("dc=af,dc=test", "/home", "/bin/bash", issuer="https://i")


def ours(number: int) -> dict[str, Any]:
    numbers = {"uidNumber": 20000 + number, "gidNumber": 20000 + number}
    extension = numbers | {"state": "active", "groups": [{"path": "lab", "gidNumber": 30000}]}
    return {"id": f"sub-{number}", "userName": f"user{number}", "active": True, builtin.EXTENSION: extension}


def theirs(number: int) -> dict[str, Any]:
    names = {"givenName": "User", "familyName": str(number)}
    return {"id": f"sub-{number}", "userName": f"user{number}", "active": True, "name": names, "groups": [{"display": "lab"}]}


def serve(source: MembershipSource) -> None:
    """The way of the members to directory and nodes, for three of whom one is odd."""
    found = source.read()
    reading = state.read(found.members, TABLE, 20000)
    accounts = {account.name: account for account in reading.accounts}
    assert {"user0", "user2"} <= accounts.keys() and len(found.members) + len(found.unread) in (2, 3)
    assert all(20000 <= account.uid < 2**31 for account in reading.accounts)
    assert "\n" not in "".join(map(str, reading.faults))
    entries = state.entries(reading.accounts, LAYOUT)
    assert diff([], entries).changes and all(
        value.encode() for entry in entries.values() for values in entry.values() for value in values
    )
    assert json.loads(rows.dump(state.list_rows(reading.accounts, LAYOUT)))


def answer(*users: dict[str, Any]) -> Any:
    return SimpleNamespace(issuer="https://i", users=lambda path, count: [*users])


@EVERY
@given(
    changed(["userName", "displayName", "active", "emails", builtin.EXTENSION])
    | changed(["state", "uidNumber", "groups", "name", "kind"])
)
def test_members_of_our_own_identity(odd: dict[str, Any]) -> None:
    user = ours(1)
    within = {key: value for key, value in odd.items() if key in ("state", "uidNumber", "groups", "name", "kind")}
    user |= {builtin.EXTENSION: user[builtin.EXTENSION] | within} if within else odd
    serve(builtin.Builtin(answer(ours(0), user, ours(2))))


@EVERY
@given(
    changed(["userName", "name", "active", "emails", "groups", "meta", indigo.EXTENSION]) | changed(["endTime", "serviceAccount"])
)
def test_members_of_an_indigo_iam(tmp_path_factory: pytest.TempPathFactory, odd: dict[str, Any]) -> None:
    if odd.keys() <= {"endTime", "serviceAccount"}:
        odd = {indigo.EXTENSION: odd}
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "db", 20000, 30000)
    for number in range(3):
        ledger.ensure_member(f"sub-{number}", f"user{number}", ["lab"])
    serve(indigo.Indigo(answer(theirs(0), theirs(1) | odd, theirs(2)), ledger, ["lab"]))


@EVERY
@given(changed(["displayName", "emails", "externalId", "locale", "photos", "name", "phoneNumbers", "x"]))
def test_what_scim_has_stored(odd: dict[str, Any]) -> None:
    member = {"schemas": [models.USER, models.OUR_USER], "id": "7", "userName": "ada", "active": True}
    extension = {models.OUR_USER: {"name": "ada", "uidNumber": 20000}}
    assert wire.load(models.FullUser, member | odd | extension).user_name == "ada"


# files and processes

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b".."))


@EVERY
@given(st.lists(NAMES, min_size=1, max_size=4), st.sampled_from(["", "users", "users/ada", "data"]))
def test_files_on_an_element(tmp_path_factory: pytest.TempPathFactory, names: list[bytes], place: str) -> None:
    root = tmp_path_factory.mktemp("element")
    for folder in ("users/bob", "users/ada", "data"):
        (root / folder).mkdir(parents=True)
    (root / "users" / "bob" / "x").write_bytes(b"12345")
    for name in names:
        (root / place / os.fsdecode(name)).mkdir(exist_ok=True)
    table = [{"path": "/users/{user}", "groups": ["lab"]}, {"path": "/data", "groups": ["lab"]}]
    found = json.loads(json.dumps(usage.count(root, table)))
    assert next(row for row in found["paths"] if row["path"] == "/users/bob")["bytes"] == 5
    assert all(row["path"].isprintable() for row in found["paths"])


@EVERY
@given(st.binary(max_size=15).filter(lambda name: 0 not in name))
def test_processes(tmp_path_factory: pytest.TempPathFactory, name: bytes) -> None:
    folder = tmp_path_factory.mktemp("proc")
    group = folder / "cgroup" / adoption.SERVICE
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text("1\n2\n3\n")
    for pid, called, parent in ((1, b"condor_dagman", 0), (2, name, 1), (3, b"sleep", 2)):
        (folder / str(pid)).mkdir()
        (folder / str(pid) / "stat").write_bytes(b"%d (%s) S %d 1 1 0\n" % (pid, called, parent))
        # the kernel writes line ends of a name as \n here
        said = called.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
        (folder / str(pid) / "status").write_bytes(b"Name:\t%s\nUid:\t20001\t1\t1\t1\n" % said)
    found = adoption.find_strays(folder / "cgroup", 20000, folder)
    assert sorted(found[20001]) == [1, 2, 3]
    assert deprovisioning._is_shadow(folder / "2" / "status", {20001}) is (name == b"condor_shadow")


@given(st.text(st.characters()) | st.sampled_from(WORDS))
def test_words_that_people_are_shown(words: str) -> None:
    assert show(words).isprintable()
    show(words).encode()


@given(st.text() | st.builds("{} {}".format, st.sampled_from(["ssh-ed25519", "ssh-rsa"]), st.text()))
def test_a_public_key(line: str) -> None:
    try:
        assert len(certificates.parse(line).split()) == 2
    except InputError:
        return
