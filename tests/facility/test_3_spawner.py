"""Notebooks that systemd runs, on a node whose Docker is stopped (`spawner: systemd`, in the facility file of this lane)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cells import BEGIN
from jobs import deposit
from notebooks import ask, enter, find_containers, is_ready, join, run_cell
from person import Person
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("notebooks"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(1200),
]
# who it is, what it may, whom it reaches; a service of its own that stays; and what becomes of a process that takes too much
PROBE = (
    BEGIN
    + """
url, headers = "https://head.{domain}:8443/users/{name}/spawned", {{"Authorization": "Bearer " + token}}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("198.18.0.1", 9))
    address = one.getsockname()[0]
subprocess.Popen([sys.executable, "-m", "http.server", "7777"], start_new_session=True, stderr=subprocess.DEVNULL)
while not reach("127.0.0.1", 7777):
    pass
print(json.dumps({{
    "address": address,
    "id": subprocess.check_output(["id"], text=True).strip(),
    "image": pathlib.Path("/etc/farmlet-image").read_text().strip(),
    "written": urllib.request.urlopen(urllib.request.Request(url, b"by a unit", headers, method="PUT"), timeout=20).status,
    "reached": [port for port in (53, 443, 880, 881, 882, 2019, 2375) if reach("head.{domain}", port)],
    "metadata": reach("169.254.169.254", 80),
    "capabilities": int([line for line in open("/proc/self/status") if line.startswith("CapBnd")][0].split()[1], 16),
    "processes": pathlib.Path("/proc/1/comm").read_text().strip(),
    "hog": subprocess.run([sys.executable, "-c", "bytearray(3 << 30)"]).returncode,
    "written to": [path for path in ("/", "/usr", "/etc", "/home", "/root", "/run") if os.access(path, os.W_OK)],
}}))
"""
)
NEIGHBOUR = """
import json, pathlib, socket
def reach(host, port):
    try:
        socket.create_connection((host, port), 2).close()
        return True
    except OSError:
        return False
print(json.dumps({{
    "reached": [[host, port] for host in ("{address}", "127.0.0.1") for port in (8888, 7777) if reach(host, port)],
    "tokens": [path.name for path in pathlib.Path("/run/farmlet-tokens").iterdir()],
    "ours": [path for path in ("/etc/farmlet", "/var/lib/farmlet/notebooks", "/run/docker.sock") if pathlib.Path(path).exists()],
}}))
"""


@pytest.fixture(scope="module")
def wanda(sandbox: Sandbox, running: Sandbox) -> Person:
    person = join(sandbox, "wanda")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    deposit(person)
    return person


@pytest.fixture(scope="module")
def hub(sandbox: Sandbox, wanda: Person) -> Iterator[Hub]:
    """Wanda's server, up."""
    assert "inactive" in sandbox.exec("head", "systemctl is-active docker || true")
    found = enter(wanda)
    found.start()
    yield found
    found.stop()


def test_a_unit_is_its_member_in_a_network_of_its_own(sandbox: Sandbox, wanda: Person, hub: Hub) -> None:
    told = run_cell(wanda, hub, PROBE.format(domain=sandbox.domain, name=wanda.name))
    address = told.pop("address")
    assert told == {
        "id": wanda.ssh("id"),
        "image": wanda.ssh("cat /cvmfs/unpacked/analysis/etc/farmlet-image"),
        "written": 201,
        "reached": [443],
        "metadata": False,
        "capabilities": 0,
        "processes": "init",
        "hog": -9,
        "written to": [],
    }
    assert ask(wanda, f"{hub.server}/vscode/", hub.token) == 200
    # neither a neighbour's notebook nor a shell, the member's own among them, gets at the server or at what listens in it
    other = join(sandbox, "xaver")
    theirs = enter(other)
    theirs.start()
    until(lambda: other.try_ssh("true").returncode == 0, 30)
    told = run_cell(other, theirs, NEIGHBOUR.format(address=address))
    theirs.stop()
    assert told == {"reached": [], "tokens": [other.name], "ours": []}
    for person in (wanda, other):
        for where in (f"{address}:8888", f"{address}:7777", "127.0.0.1:7777"):
            assert person.try_ssh(f"curl -s --max-time 5 http://{where}/").returncode == 7, (person.name, where)
    until(lambda: sandbox.exec("head", "ls /run/netns | wc -l; ls /run/farmlet-servers | wc -l").split() == ["1", "1"], 30)


def test_a_killed_hub_finds_its_units_again_and_a_suspension_ends_them(sandbox: Sandbox, wanda: Person, hub: Hub) -> None:
    kernel = wanda.browser.call("POST", f"{hub.server}/api/kernels", hub.headers, {"name": "python3"})["id"]
    before = find_containers(sandbox, wanda.name)
    sandbox.exec("head", "systemctl kill --signal KILL farmlet-notebooks; systemctl stop farmlet-notebooks")
    assert ask(wanda, f"{hub.server}/api/kernels/{kernel}", hub.token) == 200
    sandbox.exec("head", "systemctl start farmlet-notebooks")
    until(lambda: is_ready(wanda, hub), 90)
    assert find_containers(sandbox, wanda.name) == before
    assert ask(wanda, f"{hub.server}/api/kernels/{kernel}", hub.token) == 200
    sandbox.run("user", "suspend", wanda.name)
    until(lambda: not sandbox.exec("head", "systemctl list-units --all --plain --no-legend 'farmlet-server-*'"), 30)
    until(lambda: wanda.name not in sandbox.exec("head", "ls /run/farmlet-notebooks"), 30)
