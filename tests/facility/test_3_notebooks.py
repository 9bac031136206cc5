"""Notebooks: a real Hub, and a server of a new member's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from jobs import deposit
from notebooks import ask, enter, find_containers, join, read, run_cell
from person import Person
from sandbox import Sandbox, until
from screen import keep, open_screen

from farmlet.demo.notebook import Hub
from farmlet.errors import FarmletError
from farmlet.parts.notebooks.hub.settings import COOKIE

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# what a cell prints of itself: who it is, its token's owner at storage, and whom it reaches
PROBE = """
import json, os, pathlib, socket, subprocess, urllib.request
def reach(host, port):
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False
token = pathlib.Path(os.environ["BEARER_TOKEN_FILE"]).read_text().strip()
request = urllib.request.Request("https://head.{domain}:8443/users/{name}/note", headers={{"Authorization": "Bearer " + token}})
print(json.dumps({{
    "id": subprocess.check_output(["id"], text=True).strip(),
    "home": str(pathlib.Path.home()),
    "note": urllib.request.urlopen(request, timeout=20).read().decode(),
    "image": pathlib.Path("/etc/farmlet-image").read_text().strip(),
    "socket": pathlib.Path("/run/docker.sock").exists(),
    "reached": [port for port in (443, 880, 881, 882, 2375, 2019) if reach("{gateway}", port)],
    "metadata": reach("169.254.169.254", 80),
    "software": subprocess.run(["python3", "-c", "import dask.distributed, jupyterlab_git, jupyter_resource_usage"]).returncode,
    "git": subprocess.check_output(["git", "--version"], text=True).split()[0],
    "capabilities": [line for line in open("/proc/self/status") if line.startswith("CapEff")][0].split()[1],
}}))
"""
# two terminals, a program in one of which prints nothing, and what is left when idle ones are looked for
IDLE = """
import asyncio, json, logging
from pathlib import Path
from traitlets.config import Config
logging.disable()
config = Config()
names = {"get_config": lambda: config, "__file__": "/opt/farmlet/notebook/config/jupyter_server_config.py"}
exec(Path("/opt/farmlet/notebook/config/jupyter_server_config.py").read_text(), names)
async def look():
    manager = names["Terminals"](shell_command=["sh"], cull_inactive_timeout=1, cull_interval=3600)
    busy, idle = manager.create()["name"], manager.create()["name"]
    manager.terminals[busy].ptyproc.write("sleep 60 > /dev/null\\n")
    await asyncio.sleep(2.5)
    await manager._cull_terminals()
    kept = [each["name"] for each in manager.list()]
    await manager.terminate_all()
    return {"kept": kept == [busy], "used": config.TerminalsExtensionApp.terminal_manager_class is names["Terminals"]}
told = await look()
print(json.dumps(told))
"""
# what VS Code listens on, and what keeps its server from ending
EDITOR = """
import json, pathlib, psutil, sys
sys.path.append("/opt/farmlet/notebook/python")
import farmlet_editor
(socket,) = pathlib.Path("/tmp").glob("jupyter-server-proxy-*/socket")
node = [one for one in psutil.process_iter(["exe"]) if str(one.info["exe"]).startswith("/opt/farmlet/editor/")]
busy = [child.name() for shell in farmlet_editor.find_busy() for child in psutil.Process(shell).children()]
print(json.dumps({
    "folder": oct(socket.parent.stat().st_mode), "socket": oct(socket.stat().st_mode), "owner": socket.parent.owner(),
    "ports": [found.laddr.port for one in node for found in one.net_connections() if found.status == "LISTEN"],
    "busy": busy, "idle": farmlet_editor.Editor().current_activity() is None,
}))
"""
# a job sent by condor_submit and one by the Python bindings, and what the queue and the pool say
JOBS = """
import htcondor2, json, os, pathlib, subprocess, time
def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    return done.stdout.strip() if not done.returncode else f"{words}: {done.stdout} {done.stderr}"
os.makedirs("sent", exist_ok=True)
os.chdir("sent")
pathlib.Path("job.sub").write_text('''executable = /usr/bin/id
arguments = -un
transfer_executable = false
+WantLocal = true
request_memory = 100
output = job.out
log = job.log
queue
''')
text = pathlib.Path("job.sub").read_text().replace("job.out", "bound.out").replace("queue", "")
said = run("condor_submit", "-terse", "job.sub")
number = said.split(".")[0]
schedd = htcondor2.Schedd()
bound = str(schedd.submit(htcondor2.Submit(text)).cluster())
owners = run("condor_q", number, bound, "-af", "Owner").split()
done = run("condor_wait", "-wait", "120", "job.log")
print(json.dumps({
    "said": said, "owners": owners, "waited": done, "out": [pathlib.Path(name).read_text() for name in ("job.out", "bound.out")],
    "slots": bool(run("condor_status", "-af", "Name")),
}))
"""
# what a cell of somebody else's notebook gets of nora's: statuses, 0 where nothing answers
NEIGHBOUR = """
import json, os, pathlib, socket, urllib.error, urllib.request
def ask(url):
    request = urllib.request.Request(url, headers={{"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]}})
    try:
        return urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
hub = "https://notebooks.{domain}"
print(json.dumps({{
    "own": ask(hub + "/hub/api/user"),
    "server": ask(hub + "/user/{name}/api/contents"),
    "past the proxy": ask("http://{address}:8888/user/{name}/api"),
    "user": ask(hub + "/hub/api/users/{name}"),
    "users": ask(hub + "/hub/api/users"),
    "proxy": ask(hub + "/hub/api/proxy"),
    "caddy": ask("http://{gateway}:2019/config/"),
    "docker": ask("http://{gateway}:2375/containers/json"),
    "link-local": ask("http://169.254.169.254/"),
    "database": pathlib.Path("/var/lib/farmlet/notebooks").exists(),
    "settings": pathlib.Path("/etc/farmlet").exists(),
    "tokens": [path.name for path in pathlib.Path("/run/farmlet-tokens").iterdir()],
}}))
"""


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
    until(lambda: other.try_ssh("true").returncode == 0, 30)
    # past the proxy; to Docker; to the Hub's files; to a port behind which log-ins pass
    tries = {
        f"curl -s --max-time 5 http://{address}:8888/": 7,
        "/usr/bin/docker ps": 1,
        "cat /etc/farmlet/notebooks/settings.json": 1,
        "python3 -c \"import socket; socket.socket().bind(('127.0.0.1', 883))\"": 1,
    }
    assert {words: other.try_ssh(words).returncode for words in tries} == tries


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
