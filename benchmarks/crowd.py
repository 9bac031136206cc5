"""300 simulated members at the Hub: each logs in, starts a server, holds a websocket to it, and leaves it or breaks it off.

Of a sandbox only the image of the head node is used, for a container with a Hub as a node has it: the same
programs, our configuration, log-in by OpenID, the proxy. Stubs are the issuer, which believes everybody, and the servers: all
members get one small program that echoes. Members come within RAMP seconds and hold their websockets until the last has come.
Every answer of the Hub counts but the stream that tells how a start goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

MEMBERS, RAMP, HOLD = int(os.environ.get("MEMBERS", "300")), float(os.environ.get("RAMP", "60")), 10
NAME, PYTHON = "farmlet-bench-crowd", "/opt/farmlet/hub/bin/python"
PROXY, API, HUB, ISSUER, SERVER = 8000, 8001, 8081, 8090, 8091
ORIGIN = f"http://127.0.0.1:{PROXY}"
CONFIG = f"""\
import os
from farmlet.parts.notebooks.hub.configuration import configure
from farmlet.parts.notebooks.hub.server import Server

class Stub(Server):
    there = False
    async def launch(self):
        self.there = True
        return "127.0.0.1", {SERVER}
    async def poll(self): return None if self.there else 0
    async def end(self, now=False): self.there = False
    async def find_end(self): return 0, False, ""

c = get_config()
configure(c, "/work/settings.json")
c.JupyterHub.spawner_class = Stub
"""
RUN = f"""
cd /work && mkdir state tokens credentials
export CREDENTIALS_DIRECTORY=/work PYTHONPATH=/bench/src
CONFIGPROXY_AUTH_TOKEN=$(cat proxy) configurable-http-proxy --ip 127.0.0.1 --port {PROXY} --api-ip 127.0.0.1 --api-port {API} \
  --default-target http://127.0.0.1:{HUB} --error-target http://127.0.0.1:{HUB}/hub/error > proxy.log 2>&1 &
{PYTHON} /bench/crowd.py stubs > stubs.log 2>&1 &
/opt/farmlet/hub/bin/jupyterhub --config /work/config.py > hub.log 2>&1 &
echo $! > hub.pid
{PYTHON} /bench/crowd.py members || {{ tail -n 30 hub.log stubs.log >&2; exit 1; }}
"""


def prepare(folder: Path) -> None:
    """What the container sees as /bench and /work."""
    from dataclasses import asdict

    from farmlet.parts import images
    from farmlet.parts.images import Row
    from farmlet.parts.notebooks.hub.settings import Settings
    from farmlet.parts.notebooks.roster import Member

    for name in ("client", "cookie", "proxy"):
        (folder / name).write_text("ab" * 32)
        (folder / name).chmod(0o600)
    given: dict[str, Any] = {
        "mounted": "ro", "title": "Crowd", "origin": ORIGIN, "issuer": f"http://127.0.0.1:{ISSUER}",
        "client": "farmlet-notebooks", "inside": "/opt/farmlet/notebook", "editor": "/opt/farmlet/editor", "network": "farmlet",
        "spawner": "docker", "sharing": False, "unpacked": "", "certificates": "/etc/ssl/certs", "roster": "/work/roster.json",
        "cores": 1, "memory": 1 << 28, "servers": 1, "idle": 0, "silent": 0, "proxy": PROXY, "api": API, "hub": HUB,
    }  # fmt: skip
    paths = {name: f"/work/{name}" for name, kind in Settings.__annotations__.items() if kind == "str"}
    settings = Settings(**paths | given)
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))
    members = [Member(f"sub-{number}", f"member{number}", 0, 0, "/work/home") for number in range(MEMBERS)]
    (folder / "roster.json").write_text(json.dumps([asdict(one) for one in members]))
    (folder / "image" / "etc").mkdir(parents=True)
    for name in ("passwd", "group"):
        (folder / "image" / "etc" / name).touch()
    images.save([Row("image", offered=True, digest="a" * 64, path="/work/image", tested=time.time())], folder)
    (folder / "config.py").write_text(CONFIG)


async def tell(request: Any) -> Any:
    """The issuer, which believes whoever says who they are."""
    from aiohttp import web

    if request.path == "/authorize":
        back = {"code": request.query["who"], "state": request.query["state"]}
        raise web.HTTPFound(f"{request.query['redirect_uri']}?{urlencode(back)}")
    if request.path == "/token":
        return web.json_response({"access_token": (await request.post())["code"], "token_type": "Bearer", "expires_in": 3600})
    if request.path == "/userinfo":
        who = request.headers["Authorization"].split()[1]
        return web.json_response({"sub": f"sub-{who}", "preferred_username": f"member{who}"})
    return web.json_response({"issuer": f"http://127.0.0.1:{ISSUER}"})


async def echo(request: Any) -> Any:
    """A member's server."""
    from aiohttp import WSMsgType, web

    sockets = request.app["sockets"]
    if request.path.endswith("/count"):
        return web.json_response({"open": len(sockets)})
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(text="here", headers={"X-JupyterHub-Version": "6.1.1"})
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    sockets.add(socket)
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
    finally:
        sockets.discard(socket)
    return socket


async def serve_stubs() -> None:
    from aiohttp import web

    for handler, port in ((tell, ISSUER), (echo, SERVER)):
        app = web.Application()
        app["sockets"] = set()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


class Visit:
    """One member at a browser. `answers`: seconds of each answer of the Hub."""

    def __init__(self, number: int, session: Any, ready: asyncio.Event) -> None:
        self.name, self._number, self._session, self._ready = f"member{number}", number, session, ready
        self.answers: list[float] = []
        self.start = 0.0

    async def run(self) -> None:
        url, text = await self.get(f"{ORIGIN}/hub/spawn")
        found = re.search(r'[?&]_xsrf=([^"&]+)', text)
        if "spawn" not in url or found is None:
            raise RuntimeError(f"{self.name} sees {url}: {text[-300:]}")
        began = time.monotonic()
        form = {"_xsrf": found[1], "cores": "1", "memory": "0.25"}
        url, text = await self.get(f"{ORIGIN}/hub/spawn?_xsrf={found[1]}", form)
        if "spawn-pending" in url:
            await self.follow(found[1])
        url, text = await self.get(f"{ORIGIN}/user/{self.name}/lab")
        if text != "here":
            raise RuntimeError(f"{self.name} sees {url} in place of the server: {text[:300]}")
        self.start = time.monotonic() - began
        await self.hold()

    async def get(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Where one ends and what is there; every step to the Hub is timed."""
        for _ in range(12):
            parts = urlsplit(url)
            if parts.port == ISSUER:
                url += f"&who={self._number}"
            began = time.monotonic()
            async with self._session.request("POST" if form else "GET", url, data=form, allow_redirects=False) as answer:
                text = await answer.text()
            if parts.path.startswith("/hub/"):
                self.answers.append(time.monotonic() - began)
            if answer.status in (301, 302, 303, 307):
                url, form = urljoin(url, answer.headers["Location"]), None
                continue
            if answer.status != 200:
                raise RuntimeError(f"{self.name}: {url} answers {answer.status}: {text[-300:]}")
            return url, text
        raise RuntimeError(f"{self.name} is led in circles: {url}")

    async def follow(self, guard: str) -> None:
        """What a browser's page listens to until the server is there."""
        url = f"{ORIGIN}/hub/api/users/{self.name}/server/progress?_xsrf={guard}"
        async with self._session.get(url, headers={"Accept": "text/event-stream", "Referer": f"{ORIGIN}/hub/"}) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    told = json.loads(line[5:])
                    if told.get("ready"):
                        return
                    if told.get("failed"):
                        raise RuntimeError(f"{self.name}: {told}")
            raise RuntimeError(f"{self.name}: the start was not told to its end: {answer.status}")

    async def hold(self) -> None:
        socket = await self._session.ws_connect(f"{ORIGIN}/user/{self.name}/ws")
        end = None
        while end is None or time.monotonic() < end:
            await socket.send_str(self.name)
            if (await socket.receive(timeout=60)).data != self.name:
                raise RuntimeError(f"{self.name}: the websocket does not echo")
            await asyncio.sleep(3)
            if end is None and self._ready.is_set():
                end = time.monotonic() + HOLD
        if self._number % 2:
            await socket.close()
        else:  # a laptop that is closed
            socket._response.connection.transport.abort()


async def visit() -> None:
    import aiohttp

    for _ in range(600):
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{ORIGIN}/hub/health") as answer:
                if answer.status == 200:
                    break
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.2)
    ready, visits, faults = asyncio.Event(), list[Visit](), list[str]()

    async def attend(number: int) -> None:
        await asyncio.sleep(number * RAMP / MEMBERS)
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(300)
        ) as session:
            one = Visit(number, session, ready)
            visits.append(one)
            try:
                await one.run()
            except Exception as error:
                faults.append(f"{one.name}: {error!r}")

    async def watch() -> None:
        while sum(bool(one.start) for one in visits) + len(faults) < MEMBERS:
            await asyncio.sleep(0.5)
        ready.set()

    before = spend()
    await asyncio.gather(watch(), *(attend(number) for number in range(MEMBERS)))
    spent, left = spend() - before, -1
    async with aiohttp.ClientSession() as session:
        for _ in range(60):
            async with session.get(f"http://127.0.0.1:{SERVER}/count") as answer:
                left = (await answer.json())["open"]
            if not left:
                break
            await asyncio.sleep(1)
    answers = [value for one in visits for value in one.answers]
    starts = [one.start for one in visits if one.start]
    print(json.dumps({"answers": answers, "starts": starts, "faults": faults, "left": left, "spent": spent}))


def spend() -> float:
    """Processor seconds of the Hub."""
    words = Path(f"/proc/{Path('/work/hub.pid').read_text().strip()}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    from logins import facility

    with facility() as sandbox:
        measure(sandbox.container("head"))


def measure(container: str) -> None:
    from record import ROOT, record

    command = ["docker", "inspect", "--format", "{{.Image}}", container]
    image = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        mounts = ["-v", f"{folder}:/work", "-v", f"{ROOT / 'src'}:/bench/src:ro", "-v", f"{__file__}:/bench/crowd.py:ro"]
        given = ["-e", f"MEMBERS={MEMBERS}", "-e", f"RAMP={RAMP}", "--ulimit", "nofile=8192", "--init", "--entrypoint", "bash"]
        done = subprocess.run(
            ["docker", "run", "--rm", "--name", NAME, *mounts, *given, image, "-c", RUN], capture_output=True, text=True
        )
    if done.returncode:
        sys.exit(f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for fault in found["faults"][:5]:
        print(fault)
    late = [sorted(found[name])[int(0.95 * len(found[name]))] for name in ("answers", "starts")]
    load = f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores, which members and stubs use too"
    what = f"notebooks: {MEMBERS} members within {RAMP:.0f} s"
    note = f"{len(found['answers'])} answers; {load}; the Hub took {found['spent']:.1f} s of a processor"
    record(
        f"{what}: failures",
        "0",
        "",
        [len(found["faults"]) + found["left"]],
        "and websockets that the server still has when all have left",
    )
    record(f"{what}: the Hub's answers, 95th percentile", "≤ 1 s", "s", late[:1], note)
    record(f"{what}: start to the server's first answer, 95th percentile", "reported", "s", late[1:], "a stub server")


if __name__ == "__main__":
    if sys.argv[1:] == ["stubs"]:
        asyncio.run(serve_stubs())
    elif sys.argv[1:] == ["members"]:
        asyncio.run(visit())
    else:
        main()
