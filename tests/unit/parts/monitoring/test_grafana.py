"""Somebody's Grafana gets folder, data source and dashboards; a stand-in has the manners of its documentation, good and bad."""

from __future__ import annotations

import configparser
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jmespath
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.identity.deploy import PART as IDENTITY
from farmlet.parts.monitoring import checks, store
from farmlet.parts.monitoring.config import Section
from farmlet.parts.monitoring.grafana import deploy, installed, program
from farmlet.parts.monitoring.grafana.api import Grafana
from farmlet.parts.monitoring.grafana.program import Run, run
from farmlet.parts.monitoring.grafana.things import Board, differ, list_things
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import File
from farmlet.runtime.checks import Failed
from grafanas import PASSWORD, TOKEN, StandIn, grafana

BOARDS = 9
TEXT = """\
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access]}
  service: {connect: fake, runs: [identity, accounts, monitoring]}
groups:
  lab: {login: true}
  lab/production: {}
  lab/admins: {administer: true}
  guests: {}
  labs: {}
"""
NAMED = "monitoring: {grafana: https://grafana.example.org/}\n"


def load(more: str = NAMED) -> Facility:
    return loads(TEXT + more, "facility.yaml", find())


def make(more: str = NAMED) -> Context:
    facility = load(more)
    return Context(facility, facility.nodes["service"], Trust("CA\n"), "0" * 64)


class Desk:
    """Where the program runs: its files."""

    def __init__(self, folder: Path, standin: StandIn) -> None:
        self.standin = standin
        self.config, self.token, self.reader, self.state = (folder / name for name in ("config", "token", "reader", "state"))
        self.write(url=standin.url, store=f"{standin.url}/nothing")
        self.token.write_text(f"{TOKEN}\n")
        self.reader.write_text("r" * 64)

    def write(self, **more: Any) -> None:
        self.config.write_text(json.dumps({**deploy.describe(make()), **more}))

    def go(self, look: bool = False) -> Run:
        return run(self.config, self.token, self.reader, self.state, look)

    def check(self) -> str:
        return checks.check_grafana(str(self.state), self.standin.url)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with grafana() as standin:
        # whether it reads the store is the business of the test with the real one
        monkeypatch.setattr(StandIn, "try_source", lambda self, uid: {"status": "OK", "message": ""})
        yield Desk(tmp_path, standin)


def test_all_is_made_once_and_read_back(desk: Desk) -> None:
    first = desk.go()
    assert first.faults == [] and len(first.changed) == 2 + BOARDS and all("was not there: made" in one for one in first.changed)
    assert len(desk.standin.saved) == 2 + BOARDS
    second = desk.go()
    assert (second.faults, second.changed, second.count) == ([], [], 2 + BOARDS) and len(desk.standin.saved) == 2 + BOARDS
    assert (
        f"11.6.0): {2 + BOARDS} things of ours are as here; 0 min ago: " in desk.check()
        and "its own admin: admin" in desk.check()
    )
    ((uid, source),) = desk.standin.sources.items()
    assert uid == "farmlet-lab" and source["jsonData"]["timeInterval"] == "15s" and source["type"] == "prometheus"
    assert desk.standin.secrets[uid] == {"httpHeaderValue1": f"Bearer {'r' * 64}", "tlsCACert": "CA\n"}
    assert desk.standin.boards["farmlet-lab-node"]["meta"]["folderUid"] == "farmlet-lab"
    panels = desk.standin.boards["farmlet-lab-storage"]["dashboard"]["panels"]
    links = [link["url"] for panel in panels for link in panel.get("links", [])]
    assert links[0] == f"{desk.standin.url}/nothing/#DiskFull"  # there the page is, as the test has it
    assert TOKEN not in desk.state.read_text() and "r" * 64 not in desk.state.read_text()


def test_a_look_changes_nothing(desk: Desk) -> None:
    assert len(desk.go(look=True).changed) == 2 + BOARDS and desk.standin.saved == [] and not desk.state.exists()
    desk.go()
    desk.standin.folders["farmlet-lab"]["title"] = "Mine"
    made = desk.go(look=True)
    assert made.changed == ["the folder differed in title: would be put back"] and len(desk.standin.saved) == 2 + BOARDS


def test_what_was_edited_by_hand_is_put_back_and_only_ours(desk: Desk) -> None:
    desk.go()
    standin = desk.standin
    standin.boards["other"] = {"dashboard": {"uid": "other", "title": "x", "version": 1}, "meta": {"folderUid": "farmlet-lab"}}
    board = standin.boards["farmlet-lab-queue"]["dashboard"]
    board["panels"][0]["title"], board["version"] = "Mine", 2
    standin.boards["farmlet-lab-node"]["meta"]["folderUid"] = ""
    # an addition shows by its version alone, a secret as well
    standin.boards["farmlet-lab-site"]["dashboard"] |= {"timepicker": {}, "version": 5}
    standin.sources["farmlet-lab"]["version"] = 4
    del standin.boards["farmlet-lab-storage"]
    assert sorted(desk.go().changed) == [
        "the dashboard Farmlet: Jobs differed in panels[0].title: put back",
        "the dashboard Farmlet: Node differed in folderUid: put back",
        "the dashboard Farmlet: Site was saved by somebody else: put back",
        "the dashboard Farmlet: Storage was not there: made",
        "the data source was saved by somebody else: put back",
    ]
    assert standin.boards["other"]["dashboard"]["version"] == 1 and desk.go().changed == []
    desk.reader.write_text("s" * 64)
    assert desk.go().changed == ["the data source is new here: put back"]
    assert standin.secrets["farmlet-lab"]["httpHeaderValue1"] == f"Bearer {'s' * 64}"


@pytest.mark.parametrize(
    ("mood", "told"),
    [
        ("broken", r"502 and no JSON: is it a Grafana"),
        ("moved", r"sends elsewhere, to https://elsewhere\.example\.org/: name the URL"),
        ("other", r"answers in no way that Grafana's documentation knows"),
        ("viewer", r"is forbidden: .*permissions.*: give the service account the role Admin"),
        ("plugin", r"the dashboard Farmlet: .* ends with 412: The dashboard belongs to plugin X"),
        ("forgets", r"the dashboard Farmlet: .* was taken, and shows otherwise: panels"),
    ],
)
def test_an_unkind_one_is_told_in_words(desk: Desk, mood: str, told: str) -> None:
    desk.standin.moods = {mood}
    desk.go()
    with pytest.raises(Failed, match=told):
        desk.check()
    saved = len(desk.standin.saved)
    desk.go()
    if mood == "forgets":  # it is not saved over and over, and still told
        assert len(desk.standin.saved) == saved
        with pytest.raises(Failed, match=told):
            desk.check()
    desk.standin.moods = set()
    desk.go()
    assert mood == "forgets" or desk.check()


def test_what_it_spells_otherwise_is_no_fault_and_not_saved_again(desk: Desk) -> None:
    desk.standin.moods = {"rewrites"}
    made = desk.go()
    assert made.faults == [] and "the dashboard Farmlet: Node is kept otherwise in schemaVersion" in made.notes
    assert desk.go().changed == []


def test_who_saves_at_the_same_moment_is_not_overwritten(desk: Desk) -> None:
    desk.go()
    desk.standin.boards["farmlet-lab-node"]["dashboard"] |= {"title": "Mine", "version": 2}
    desk.standin.moods = {"race"}
    (fault,) = desk.go().faults
    assert "the dashboard Farmlet: Node: " in fault and "412: The dashboard has been changed by someone else" in fault
    desk.standin.moods = set()
    assert desk.go().faults == [] and desk.standin.boards["farmlet-lab-node"]["dashboard"]["title"] == "Farmlet: Node"


def test_what_its_own_files_provision_is_left(desk: Desk) -> None:
    desk.go()
    desk.standin.boards["farmlet-lab-node"] |= {"meta": {"provisioned": True, "folderUid": "x"}}
    desk.standin.sources["farmlet-lab"] |= {"readOnly": True, "url": "https://x"}
    faults = desk.go().faults
    assert len(faults) == 2 and all("is provisioned by a file of Grafana's: take it out of there" in fault for fault in faults)


@pytest.mark.parametrize(
    ("token", "told"), [("", "is not there, or is none"), ("a\nb: c", "is none"), ("glsa_old", "does not know the token, or it")]
)
def test_a_token_that_is_none(desk: Desk, token: str, told: str) -> None:
    desk.token.write_text(token)
    (fault,) = desk.go().faults
    assert told in fault and (not token or token not in fault) and desk.standin.saved == []


@pytest.mark.parametrize(
    ("version", "good"), [("9.0.9", False), ("8.5.27", False), ("9.1.0", True), ("13.2.0-1", True), ("", True)]
)
def test_one_too_old_is_told(desk: Desk, version: str, good: bool) -> None:
    desk.standin.version = version
    assert [("too old" in fault) for fault in desk.go().faults] == ([] if good else [True])


def test_one_that_is_away(desk: Desk) -> None:
    desk.write(url="http://127.0.0.1:1")
    (fault,) = desk.go().faults
    assert "http://127.0.0.1:1 does not answer: " in fault


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
KEYS = st.sampled_from(["uid", "title", "version", "meta", "dashboard", "folderUid", "provisioned", "readOnly", "status"])
MORE = st.sampled_from(["message", "settings", "enabled", "login", "role", "authLabels", "panels", "jsonData"])
ODD = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | MORE, inner, max_size=5), max_leaves=12
)
BODIES = ODD.map(lambda found: json.dumps(found).encode()) | st.binary(max_size=20) | st.just(b"[" * 100_000)


@given(st.lists(st.tuples(st.sampled_from([200, 200, 200, 201, 302, 400, 401, 403, 404, 409, 412, 500]), BODIES), max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_answer_ends_the_program(answers: list[tuple[int, bytes]]) -> None:
    waiting = [(200, b'{"version": "11.0.0"}'), *answers]
    asked = Grafana("https://g", TOKEN)
    asked._send = lambda *_: (*(waiting.pop(0) if waiting else (404, b"{}")), "")  # type: ignore[method-assign]
    made = Run(asked, {}, look=False)
    made.go(deploy.describe(make()), "r" * 64)
    assert made.faults and json.dumps([made.kept, made.notes, made.faults])


def test_one_that_dribbles_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, the answer never."""

    def dribble(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            while True:
                connection.sendall(b"H")
                time.sleep(0.1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=dribble, args=(server,), daemon=True).start()
        desk.write(url=f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(program, "SECONDS", 1)
        words = [str(desk.config), "--token", str(desk.token), "--reader", str(desk.reader), "--state", str(desk.state)]
        monkeypatch.setattr(sys, "argv", ["program", *words])
        assert program.main() == 0
    with pytest.raises(Failed, match="all of it took longer than 1 s"):
        desk.check()


def test_an_admin_of_its_own_must_be_left_and_none_is_touched(desk: Desk) -> None:
    desk.standin.users = [{**desk.standin.users[0], "authLabels": ["Generic OAuth"]}, {"login": "b", "role": "Viewer"}]
    assert "no admin of its own is left" in desk.go().faults[0]
    assert not any("users" in one for one in desk.standin.saved)


def test_log_in_settings_of_its_database_are_seen(desk: Desk) -> None:
    assert "how people log in cannot be seen with this token" in desk.go().notes
    desk.standin.login = {"settings": {"enabled": False}, "source": "system"}
    assert "members cannot log in: paste /etc/farmlet/grafana.ini" in desk.go().notes
    right = json.loads(desk.config.read_text())["login"]
    desk.standin.login = {"settings": {"enabled": True, **right}, "source": "system"}
    assert desk.go().faults == []
    desk.standin.login = {"settings": {"enabled": True, **right, "roleAttributePath": "'Admin'"}, "source": "database"}
    (fault,) = desk.go().faults
    assert fault.endswith("roleAttributePath in its database, which hides grafana.ini")


def test_what_is_told_is_of_this_file_and_token(desk: Desk) -> None:
    def check(seconds: float = 900) -> str:
        return checks.check_run(str(desk.state), str(desk.config), str(desk.token), seconds)

    with pytest.raises(Failed, match="journalctl"):
        check()
    desk.go()
    assert check() == "looked at 0 s ago"
    with pytest.raises(Failed, match="last looked at"):
        check(-1)
    os.utime(desk.token, (time.time() + 9, time.time() + 9))
    with pytest.raises(Failed, match="since the facility file or the token changed"):
        check()
    os.utime(desk.token, (1, 1))
    desk.write(title="Other")
    with pytest.raises(Failed, match="since the facility file or the token changed"):
        check()


def test_the_token_is_for_root_alone(tmp_path: Path) -> None:
    place = tmp_path / "token"
    for text, mode, told in ((None, 0, "missing"), ("", 0o600, "empty"), ("x", 0o644, "not for root alone")):
        if text is not None:
            place.write_text(text)
            place.chmod(mode)
        with pytest.raises(Failed, match=told):
            checks.check_token(str(place), "https://g")


def test_the_dashboards_are_what_its_schema_knows() -> None:
    boards = [thing for thing in list_things(deploy.describe(make()), "r") if isinstance(thing, Board)]
    assert len(boards) == BOARDS
    for thing in boards:
        board = {key: value for key, value in thing.ours.items() if key != "folderUid"}
        again = json.loads(JSONEncoder(sort_keys=True, indent=1).encode(Dashboard.from_json(board)))
        assert again == board and "${source}" not in json.dumps(board) and len(board["uid"]) <= 40


def test_where_two_differ() -> None:
    ours = {"a": 1, "b": [{"c": 2}], "d": None}
    assert list(differ(ours, {"a": 1, "b": [{"c": 2, "more": 0}], "e": 1})) == []
    assert list(differ(ours, {"b": [{"c": 3}], "d": None})) == ["a", "b[0].c"]
    assert list(differ(ours, {"a": 1, "b": []})) == ["b"]


ROLES = NAMED.replace(
    "https://grafana.example.org/", "{url: 'https://g.example.org/x', roles: {lab: Viewer, lab/production: Editor}}"
)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["/lab/admins", "/lab"], "Admin"),
        (["/lab", "/lab/production"], "Editor"),
        (["/lab"], "Viewer"),
        (["/guests"], None),
        (["/labs"], None),
        ([], None),
        (None, None),
    ],
)
def test_groups_are_roles_by_what_grafana_reads(groups: list[str] | None, role: str | None) -> None:
    """By JMESPath itself; what is no role is let in by nobody, for the roles are strict."""
    claims = {"sub": "x"} | ({"wlcg.groups": groups} if groups is not None else {})
    path = deploy.describe_login(load(ROLES), load(ROLES).parts["monitoring"].grafana)["roleAttributePath"]  # type: ignore[attr-defined]
    assert (jmespath.search(path, claims) or None) == role
    alone = deploy.describe_login(load(), load().parts["monitoring"].grafana)["roleAttributePath"]  # type: ignore[attr-defined]
    assert (jmespath.search(alone, claims) or None) == (role if role == "Admin" else None)


def test_roles_are_of_groups_of_the_file() -> None:
    with pytest.raises(Errors, match="nobody is no group of the file"):
        load(ROLES.replace("lab: Viewer", "nobody: Viewer"))
    for wrong in (
        "http://g.example.org",
        "https://g.example.org/?a=b",
        {"url": "https://g.example.org", "roles": {"lab": "Root"}},
    ):
        with pytest.raises(ValidationError):
            Section.model_validate({"grafana": wrong})


def test_the_node_has_program_words_and_reader_and_the_issuer_a_client() -> None:
    context = make(ROLES)
    files = {one.path: one.data.decode() for one in store.configure(context) if isinstance(one, File)}
    unit = files["/etc/systemd/system/farmlet-grafana.service"]
    assert f"LoadCredential=token:{deploy.TOKEN}\n" in unit and "LoadCredential=reader:" in unit and "--token %d/token " in unit
    assert json.loads(files[store.CONFIG])["readers"] == {"grafana": f"{store.TOKENS}/readers/grafana"}
    assert any(one.label == f"secret {store.TOKENS}/readers/grafana" for one in store.configure(context))
    words = files[deploy.INI]
    assert "auth_url = https://service.farmlet.test/authorize\n" in words and "role_attribute_strict = true\n" in words
    assert 'role_attribute_path = @."wlcg.groups"[' in words and "disable_login_form = " not in words and "root_url" in words
    (step,) = [one.run for one in IDENTITY.role("provider").configure(context) if one.label == "step client grafana"]  # type: ignore[attr-defined]
    assert "--redirect-uri https://g.example.org/x/login/generic_oauth" in step and "--trusted" not in step
    assert {"monitoring.store.grafana-token", "monitoring.store.grafana"} < {check.name for check in store.check(context)}
    plain = make("")
    assert not [one for one in store.configure(plain) if "grafana" in one.label]
    assert not [one for one in IDENTITY.role("provider").configure(plain) if "grafana" in one.label]


INSTALLED = TEXT.replace("accounts, monitoring]", "accounts, monitoring, monitoring.grafana]")
OWN = "monitoring: {grafana: {roles: {lab: Viewer}, source: {url: 'https://apt.example.org', suite: stable, key: \"KEY\"}}}\n"
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\\n\\nabcd\\n-----END PGP PUBLIC KEY BLOCK-----\\n"


def install(more: str = "") -> tuple[list[Any], Context]:
    facility = loads(INSTALLED + more.replace("KEY", KEY), "facility.yaml", find())
    context = Context(facility, facility.nodes["service"], Trust("CA\n"), "0" * 64)
    return list(find()["monitoring"].role("grafana").configure(context)), context


def test_one_line_installs_a_grafana_that_members_log_in_to() -> None:
    """By reading: no package of it can be had here."""
    found, context = install()
    labels = [one.label for one in found]
    files = {one.path: one.data.decode() for one in found if isinstance(one, File)}
    assert labels.index("packages grafana") < labels.index("file /etc/farmlet/grafana/grafana.ini")
    assert not [path for path in files if "sources.list.d" in path]
    (asked,) = [one.run for one in found if one.label == "step package lists for grafana"]
    assert "monitoring: {grafana: {source: …}}" in asked
    words = configparser.ConfigParser(interpolation=None)
    words.read_string(files[installed.INI])
    assert (words["server"]["protocol"], words["server"]["root_url"]) == ("socket", "https://grafana.farmlet.test/")
    # its own admin is the way in while the issuer is away
    assert words["security"]["admin_password"] == f"$__file{{{deploy.PASSWORD}}}" and f"secret {deploy.PASSWORD}" in labels
    assert words["auth"]["disable_login_form"] == "false" and words["auth.anonymous"]["enabled"] == "false"
    oauth = words["auth.generic_oauth"]
    assert oauth["scopes"] == "openid profile wlcg.groups" and oauth["client_secret"] == f"$__file{{{installed.SECRET}}}"
    assert jmespath.search(oauth["role_attribute_path"], {"wlcg.groups": ["/lab/admins"]}) == "Admin"
    assert context.facility.control.names[-1] == "grafana.farmlet.test"
    steps = {one.label: one.run for one in IDENTITY.role("provider").configure(context) if hasattr(one, "run")}
    assert "--redirect-uri https://grafana.farmlet.test/login/generic_oauth" in steps["step client grafana"]
    (brought,) = json.loads(files["/etc/farmlet/agent.d/monitoring.grafana.json"])["deliver"].values()
    assert brought["path"] == installed.SECRET
    # nothing is asked of the admin, and the page of our own store reads as for one that is named
    assert "monitoring.store.grafana-token" not in {one.name for one in deploy.check(context.facility)}
    kept = {one.label for one in store.configure(context)}
    assert f"secret {store.TOKENS}/readers/grafana" in kept and not [label for label in kept if "grafana.ini" in label]


def test_its_packages_come_from_where_the_file_says() -> None:
    found, context = install(OWN)
    (text,) = [one.data.decode() for one in found if isinstance(one, File) and "sources.list.d" in one.path]
    assert "URIs: https://apt.example.org\n" in text and " abcd\n" in text
    path = deploy.describe(context)["login"]["roleAttributePath"]
    assert jmespath.search(path, {"wlcg.groups": ["/lab"]}) == "Viewer"


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (INSTALLED, NAMED, "names a Grafana, and one is to be installed"),
        (TEXT, "monitoring: {grafana: {roles: {lab: Viewer}}}\n", "names no Grafana"),
        (TEXT.replace("runs: [access]", "runs: [access, monitoring.grafana]"), "", "is for the node of monitoring.store"),
    ],
)
def test_one_grafana_and_in_its_place(text: str, more: str, told: str) -> None:
    with pytest.raises(Errors, match=told):
        loads(text + more, "facility.yaml", find())


def test_one_that_is_installed_is_filled_by_its_own_admin(desk: Desk) -> None:
    desk.config.write_text(json.dumps({**deploy.describe(install()[1]), "url": desk.standin.url}))
    desk.token.write_text(f"{PASSWORD}\n")
    assert desk.go().faults == [] and len(desk.standin.boards) == BOARDS
    assert desk.standin.users[0]["login"] == "admin"  # and nobody is removed
