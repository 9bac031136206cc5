"""From the click on Start until JupyterLab is there: our Hub beside a stock DockerSpawner with the same image, on the same node.

The peer is a second JupyterHub of the same programs on the node, as its documentation has it: DummyAuthenticator, DockerSpawner
with the published image whole in Docker's store, the same network, cores and memory. Rounds are interleaved.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from logins import facility
from record import record
from suspend import on_node

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "facility"))
from notebooks import enter, find_containers, join
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub

REPEATS = int(os.environ.get("REPEATS", "10"))
FOLDER = "/var/lib/farmlet-peer"
CONFIG = """\
c = get_config()
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.allow_all = True
c.JupyterHub.bind_url = "http://0.0.0.0:8000"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_connect_ip = "{gateway}"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite3"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
c.JupyterHub.services = [{{"name": "bench", "api_token": "{token}"}}]
scopes = ["admin:users", "admin:servers", "access:servers"]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"], "scopes": scopes}}]
c.JupyterHub.spawner_class = "docker"
c.DockerSpawner.image = "farmlet-peer"
c.DockerSpawner.network_name = "farmlet"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.cpu_limit = 1
c.DockerSpawner.mem_limit = "1G"
c.DockerSpawner.notebook_dir = "/tmp"
c.DockerSpawner.environment = {{"HOME": "/tmp"}}
c.DockerSpawner.extra_create_kwargs = {{"user": "65534:65534"}}
"""
RUN = "systemd-run --quiet --unit farmlet-peer --working-directory"
START = f"{RUN} {FOLDER} /opt/farmlet/hub/bin/jupyterhub --config {FOLDER}/config.py"
PATH = "/usr/local/bin:/usr/bin:/bin"
IMAGE = f"tar -C /cvmfs/unpacked/analysis/ -c . | docker import --change 'ENV PATH={PATH}' - farmlet-peer"
STOP = f"""
systemctl stop farmlet-peer; docker rm -f jupyter-peer; docker rmi farmlet-peer; rm -rf {FOLDER}
""".replace(";", " >/dev/null 2>&1 || true;")
IDLE = "cat /proc/$(systemctl show -P MainPID farmlet-notebooks)/smaps_rollup | awk '/^Pss:/ {print $2}'"


@dataclass
class Way:
    """A Hub with one user of it: `call` asks its API below the user, `see` is the status of their JupyterLab."""

    call: Callable[[str, str], None]
    see: Callable[[], int]
    gone: Callable[[], bool]
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        began = time.monotonic()
        self.call("POST", "/server")
        while self.see() != 200:
            if time.monotonic() - began > 120:
                raise SystemExit("a server did not start")
            time.sleep(0.05)
        self.seconds.append(time.monotonic() - began)
        self.call("DELETE", "/server")
        until(self.gone, 60)


def name_ours(sandbox: Sandbox, hub: Hub, name: str) -> Way:
    browser = hub._browser

    def see() -> int:
        return fetch(f"{hub.server}/lab", hub.token, opener=browser._opener)

    def call(method: str, path: str) -> None:
        body = {"cores": 1, "memory": 1} if method == "POST" else None
        browser.call(method, f"{hub.url}/hub/api/users/{name}{path}", hub.headers, body)

    return Way(call, see, lambda: not find_containers(sandbox, name))


def fetch(url: str, token: str, method: str = "GET", opener: urllib.request.OpenerDirector | None = None) -> int:
    """The status of a page that was not led elsewhere, 0 where nothing answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"}, method=method)
    try:
        with (opener or urllib.request.build_opener()).open(request, timeout=30) as answer:
            return int(answer.status) if answer.url.partition("?")[0] == url else 302
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def check(status: int) -> None:
    if status not in (201, 202, 204):
        raise SystemExit(f"the peer answers {status}")


@contextmanager
def peer(sandbox: Sandbox) -> Iterator[Way]:
    """A stock Hub as a unit of the node that leaves nothing behind."""
    token = secrets.token_hex(16)
    gateway = sandbox.exec("head", "docker network inspect farmlet --format '{{(index .IPAM.Config 0).Gateway}}'").strip()
    values = {"folder": FOLDER, "token": token, "gateway": gateway}
    base = f"http://head.{sandbox.domain}:8000"
    try:
        on_node(sandbox, f"mkdir -m 700 {FOLDER} && cat > {FOLDER}/config.py", CONFIG.format(**values))
        on_node(sandbox, IMAGE)
        on_node(sandbox, START)
        until(lambda: fetch(f"{base}/hub/api", token) == 200, 60)
        fetch(f"{base}/hub/api/users/peer", token, "POST")
        yield Way(
            lambda method, path: check(fetch(f"{base}/hub/api/users/peer{path}", token, method)),
            lambda: fetch(f"{base}/user/peer/lab", token),
            lambda: not sandbox.exec("head", "docker ps --quiet --filter name=jupyter-peer"),
        )
    finally:
        on_node(sandbox, STOP)


def main() -> None:
    with facility() as sandbox:
        idle = [int(sandbox.exec("head", IDLE)) / 1024]
        person = join(sandbox, "nils")
        hub = enter(person)
        hub.log_in()
        ours = name_ours(sandbox, hub, person.name)
        with peer(sandbox) as stock:
            for _ in range(REPEATS):
                ours.measure()
                stock.measure()
        load = f"load average {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores"
        note = f"from the call that starts a server until the page of JupyterLab answers, 1 core and 1 GiB; {load}"
        record("notebooks: start", "≤ 5 s", "s", ours.seconds, note)
        record("notebooks: start, stock DockerSpawner", "peer", "s", stock.seconds, note)
        ratios = [own / other for own, other in zip(ours.seconds, stock.seconds, strict=True)]
        record("notebooks: start, ours ÷ stock", "≤ 0.7", "×", ratios, "of rounds one after the other")
        record(
            "notebooks: idle memory of the Hub",
            "≤ 200 MB",
            "MiB",
            idle,
            "proportional set size of its process, nobody's server up",
        )
        sandbox.run("user", "remove", person.name)


if __name__ == "__main__":
    main()
