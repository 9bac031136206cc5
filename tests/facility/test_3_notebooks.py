"""Notebooks: a real Hub, and a server of a new member's own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from cells import DASK, EDITOR, IDLE, JOBS, NEIGHBOUR, PROBE, REFUSED, SERVERS, SHELL
from jobs import deposit
from notebooks import ask, enter, find_containers, give, join, read, run_cell
from person import Person
from sandbox import Sandbox, until
from screen import keep, open_screen

from farmlet.demo.notebook import Hub
from farmlet.errors import FarmletError
from farmlet.parts.notebooks.hub.configuration import list_idle
from farmlet.parts.notebooks.hub.settings import COOKIE

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def nora(sandbox: Sandbox, running: Sandbox) -> Person:
    person = join(sandbox, "nora")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    deposit(person)
    return person


@pytest.fixture(scope="module")
def hub(sandbox: Sandbox, nora: Person) -> Iterator[Hub]:
    """Nora's server, up."""
    found = enter(nora)
    found.start()
    yield found
    found.stop()


def test_a_notebook_is_its_member_with_home_and_token(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    url = f"https://head.{sandbox.domain}:8443/users/{nora.name}/note"
    nora.ssh(f'echo from storage > note && curl -sSfL -H "Authorization: Bearer $(cat $BEARER_TOKEN_FILE)" -T note {url} >&2')
    gateway = sandbox.exec("head", "docker network inspect farmlet --format '{{(index .IPAM.Config 0).Gateway}}'")
    told = run_cell(nora, hub, PROBE.format(domain=sandbox.domain, name=nora.name, gateway=gateway))
    assert told["id"] == nora.ssh("id")
    assert told["home"] == f"/home/{nora.name}"
    assert told["note"] == "from storage\n"
    assert told["image"] == nora.ssh("cat /cvmfs/unpacked/analysis/etc/farmlet-image")
    assert told["reached"] == [443]
    assert told["git"] == "git" and not told["software"]
    assert not told["socket"] and not told["metadata"] and int(told["capabilities"], 16) == 0
    assert nora.ssh("stat -c %U probe.ipynb") == nora.name


def test_nobody_else_gets_in(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    other = join(sandbox, "olaf")
    theirs = enter(other)
    theirs.log_in()
    assert ask(nora, f"{hub.server}/api/contents", hub.token) == 200
    assert ask(other, f"{hub.server}/api/contents", theirs.token) in (403, 404)
    assert ask(other, f"{hub.url}/hub/api/users/{nora.name}", theirs.token) == 404
    address = find_address(sandbox, nora)
    assert run_cell(nora, hub, DASK) == {"total": 45, "processes": 2}
    assert (
        sandbox.exec("head", f"python3 -c \"import socket; socket.create_connection(('{address}', 8786), 5); print('open')\"")
        == "open"
    )
    until(lambda: other.try_ssh("true").returncode == 0, 30)
    assert json.loads(give(other, "python3 -", SHELL.format(address=address))) == REFUSED
    # a port behind which log-ins pass
    assert other.try_ssh("python3 -c \"import socket; socket.socket().bind(('127.0.0.1', 883))\"").returncode == 1


def test_what_a_server_answers_runs_in_no_browser_but_its_members(nora: Person, hub: Hub) -> None:
    def ask(path: str, *more: str) -> str:
        words = ["curl", "-s", "--path-as-is", "--cacert", nora.ca, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]
        return subprocess.run([*words, *more, hub.url + path], capture_output=True, text=True, timeout=60).stdout

    def come(name: str) -> tuple[str, str]:
        return "--cookie", f"{COOKIE}={name}"

    page, asked = f"/user/{nora.name}/lab?a=1&b=2", "/hub/api/oauth2/"  # by the server, of who comes
    to_claim = f"302 {hub.url}/hub/claim{page}"
    assert [ask(page), ask(page, *come("otto")), ask(page, *come(""))] == [to_claim] * 3
    assert ask(page, *come("otto"), "--header", "Authorization: Basic eDp4") == to_claim, "what a link may hold"
    assert asked in ask(page, *come(nora.name))
    ways = (
        "//user/{}/lab",
        "/user//{}/lab",
        "/%75ser/{}/lab",
        "/user%2F{}/lab",
        "/hub/../user/{}/lab",
        "/./user/{}",
        "/user\\{}/lab",
    )
    said = {way: ask(way.format(nora.name), *come("otto")) for way in ways}
    assert not [way for way, told in said.items() if asked in told or told.startswith("200")], said


def test_vs_code_comes_by_one_click_and_what_runs_in_its_terminal_keeps_the_server(
    sandbox: Sandbox, nora: Person, hub: Hub
) -> None:
    nora.ssh("touch seen")
    with open_screen(nora) as context:
        lab = context.new_page()
        lab.goto(f"{hub.server}/lab")
        icon = lab.locator(".jp-LauncherCard").filter(has_text="VS Code")
        icon.wait_for()
        icon.locator("img").wait_for()
        lab.get_by_title("Git", exact=True).wait_for()
        lab.locator(".jp-StatusBar-Widget, #jp-bottom-panel, .jp-TopBar-item, #jp-top-bar").filter(
            has_text="Mem"
        ).first.wait_for()
        keep(lab, "lab-launcher")
        with context.expect_page() as opened:
            icon.click()
        code = opened.value
        code.locator(".explorer-folders-view").get_by_text("seen", exact=True).wait_for()  # the home
        code.keyboard.press("Control+Backquote")
        code.locator(".terminal.xterm").wait_for()
        until(lambda: "ptyHost" in sandbox.exec("head", f"docker top farmlet-notebook-{nora.name}"), 30)
        code.keyboard.type("sleep 300\n", delay=20)
        until(lambda: "sleep 300" in sandbox.exec("head", f"docker top farmlet-notebook-{nora.name}"), 30)
        keep(code, "vscode")
    told = run_cell(nora, hub, EDITOR)
    assert told == {
        "folder": "0o40700", "socket": "0o140600", "owner": nora.name, "ports": [], "busy": ["sleep"], "idle": False,
    }  # fmt: skip
    assert "farmlet_editor | extension was successfully loaded" in sandbox.exec(
        "head", f"docker logs farmlet-notebook-{nora.name} 2>&1"
    )
    other = enter(join(sandbox, "oskar"))
    other.log_in()
    assert ask(nora, f"{hub.server}/vscode/", hub.token) == 200
    assert ask(nora, f"{hub.server}/vscode/", other.token) in (403, 404)


def test_jobs_are_sent_from_a_notebook_as_from_a_shell(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    told = run_cell(nora, hub, JOBS)
    assert told["owners"] == [nora.name] * 2, told
    assert told["out"] == [f"{nora.name}\n"] * 2 and told["slots"], told


def find_address(sandbox: Sandbox, person: Person) -> str:
    where = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return sandbox.exec("head", f"docker inspect farmlet-notebook-{person.name} --format '{where}'")


def test_a_terminal_in_which_something_runs_is_not_idle(nora: Person, hub: Hub) -> None:
    assert run_cell(nora, hub, IDLE) == {"kept": True, "used": True}


def test_a_notebook_gets_at_nobody_elses(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    other = join(sandbox, "otto")
    theirs = enter(other)
    theirs.start()
    until(lambda: other.try_ssh("true").returncode == 0, 30)
    gateway = sandbox.exec("head", "docker network inspect farmlet --format '{{(index .IPAM.Config 0).Gateway}}'")
    words = {"domain": sandbox.domain, "name": nora.name, "address": find_address(sandbox, nora), "gateway": gateway}
    told = run_cell(other, theirs, NEIGHBOUR.format(**words))
    theirs.stop()
    assert told.pop("tokens") == [other.name]
    assert told.pop("own") == 200
    refused = {name: told.pop(name) for name in ("server", "user", "users", "proxy")}
    assert all(status in (403, 404) for status in refused.values()), refused
    assert not any(told.values()), told


def test_with_a_full_home_a_server_starts_and_its_member_makes_room(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "rita", "small")  # whose homes hold 64 MiB
    until(lambda: person.try_ssh("mkdir -p data && cp /etc/hosts data").returncode == 0, 30)
    until(lambda: "Disk quota exceeded" in person.try_ssh("dd if=/dev/urandom of=data/hog bs=1M count=100 conv=fsync").stderr, 60)
    hub = enter(person)
    hub.start()
    page = read(person, f"{hub.server}/lab", hub.token)
    assert "Your home is full" in page and "MiB data" in page
    assert ask(person, f"{hub.server}/lab/extensions/farmlet-notice/static/notice.js", hub.token) == 200
    kernel = person.browser.call("POST", f"{hub.server}/api/kernels", hub.headers, {"name": "python3"})
    assert kernel["execution_state"]
    person.browser.call("DELETE", f"{hub.server}/api/contents/data", hub.headers)
    until(lambda: person.try_ssh("cp /etc/hosts again").returncode == 0, 60)
    hub.stop()
    until(lambda: not find_containers(sandbox, person.name), 30)
    hub.start()
    assert "Your home is full" not in read(person, f"{hub.server}/lab", hub.token)
    hub.stop()


def test_a_change_of_groups_holds_at_the_next_start(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "sara", "lab", "small")
    hub = enter(person)
    hub.log_in()
    assert "Cores (up to 2)" in person.browser.open(f"{hub.url}/hub/spawn").text
    sandbox.run("user", "leave", person.name, "--group", "lab")  # the other group gives one core
    until(lambda: "Cores (up to 1)" in person.browser.open(f"{hub.url}/hub/spawn").text, 30)  # without a new log-in
    with pytest.raises(FarmletError, match="you may have 1 to 1"):
        person.browser.call("POST", f"{hub.url}/hub/api/users/{person.name}/server", hub.headers, {"cores": 2})
    assert find_containers(sandbox, person.name) == ""
    sandbox.run("user", "join", person.name, "--group", "lab")
    until(lambda: "Cores (up to 2)" in person.browser.open(f"{hub.url}/hub/spawn").text, 30)


def test_who_administers_sees_the_servers_of_all_from_the_log_in_on(sandbox: Sandbox, nora: Person, hub: Hub) -> None:
    person = join(sandbox, "sieglinde", "lab", "lab/admins")
    theirs = enter(person)
    theirs.log_in()
    assert "Servers of all" in person.browser.open(f"{hub.url}/hub/admin").text
    users = f"{hub.url}/hub/api/users?state=active"
    assert nora.name in [one["name"] for one in person.browser.call("GET", users, theirs.headers)]
    assert ask(person, f"{hub.server}/api/contents", theirs.token) in (403, 404)
    sandbox.run("user", "leave", person.name, "--group", "lab/admins")
    until(lambda: ask(person, users, theirs.token) == 403, 30)


def test_limits_hold_past_the_page(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "petra")
    hub = enter(person)
    hub.log_in()
    with pytest.raises(FarmletError, match="you may have"):
        person.browser.call("POST", f"{hub.url}/hub/api/users/{person.name}/server", hub.headers, {"cores": 99, "image": "other"})
    assert find_containers(sandbox, person.name) == ""


def test_a_suspension_ends_the_server(sandbox: Sandbox, running: Sandbox) -> None:
    person = join(sandbox, "quinn")
    hub = enter(person)
    hub.start()
    assert find_containers(sandbox, person.name)
    sandbox.run("user", "suspend", person.name)
    until(lambda: not find_containers(sandbox, person.name), 30)
    until(lambda: person.name not in sandbox.exec("head", "ls /run/farmlet-notebooks"), 30)
    # the Hub has noticed, and nothing of it is open any more
    until(lambda: ask(person, f"{hub.server}/api/contents", hub.token) in (403, 404, 424), 60)
    with pytest.raises(FarmletError):
        enter(person).start()


@pytest.mark.soak
def test_a_server_ends_where_nothing_runs_and_not_under_a_kernel_that_works(sandbox: Sandbox, running: Sandbox) -> None:
    """Two of Jupyter's servers, with seconds for hours, in a notebook of somebody who has no VS Code open."""
    person = join(sandbox, "idun")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    hub = enter(person)
    hub.start()
    told = run_cell(person, hub, SERVERS.format(options=list_idle(3)))
    hub.stop()
    assert told == [[0, None, False], [0, True]], "the other went on, and ended once its kernel had done its work"
