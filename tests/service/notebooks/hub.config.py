"""JupyterHub as a node has it, but for what it stands on: no proxy, names that are typed where $LOG_IN says so, and where
$SERVER names a program, processes of it instead of containers."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

from jupyterhub.auth import Authenticator
from jupyterhub.proxy import Proxy

from farmlet.parts.notebooks.hub.configuration import configure
from farmlet.parts.notebooks.hub.docker import Container
from farmlet.parts.notebooks.hub.entrance import appoint
from farmlet.parts.notebooks.hub.server import Server


class NoProxy(Proxy):
    """The Hub is asked itself."""

    should_start = False
    routes: dict = {}  # noqa: RUF012

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}
        self.tell()

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)
        self.tell()

    def tell(self):
        Path("routes.new").write_text(json.dumps({spec: route["target"] for spec, route in self.routes.items()}))
        Path("routes.new").rename("routes.json")

    async def get_all_routes(self):
        return self.routes


class Typed(Authenticator):
    """Whoever types a name is it."""

    async def authenticate(self, handler, data):
        return data["username"]

    async def refresh_user(self, user, handler=None, **words):
        member = Server.roster.find(user.name)
        appoint(user, member)
        return "SHARING" not in os.environ or member is not None


async def answer(name, words, seconds):
    """What each member's own process says, without systemd."""
    path = Path("told", f"{name}.json")
    return path.read_bytes() if path.exists() and words[-1] == "list" else b"[]"


class Processes(Container):
    """A process for each container; what it says is its log."""

    process = None

    async def docker(self, method, *words, **more):
        if method == "logs":
            return await self.process.stdout.read()
        code = self.process and self.process.returncode
        there = [] if Path("no-image").exists() else ["there"]
        return {"images": there, "inspect_container": {"State": {"ExitCode": code}}}[method]

    async def get_object(self):
        code = self.process and self.process.returncode
        state = {"Running": code is None, "ExitCode": code, "Error": "", "FinishedAt": ""}
        return {"Id": "one", "State": state} if self.process else None

    async def pull_image(self, name):
        pass

    async def create_object(self):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        environment = os.environ | self.get_env() | {"PORT": str(self.port), "JUPYTERHUB_API_URL": f"{self.hub.url}api"}
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(sys.executable, os.environ["SERVER"], env=environment, stdout=pipe)
        return {"Id": "one"}

    async def start_object(self):
        pass

    async def get_ip_and_port(self):
        return "127.0.0.1", self.port

    async def stop_object(self):
        self.process.kill()
        await self.process.wait()

    async def remove_object(self):
        self.process = None


c = get_config()  # noqa: F821
configure(c, os.environ["SETTINGS"])
Server.own.run_as, Server.own._told = answer, Path("told")
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url
if "LOG_IN" in os.environ:
    c.JupyterHub.authenticator_class = Typed
    c.Typed.allow_all = True
    c.Typed.auth_refresh_age, c.Typed.auth_refresh_strict = c.Entrance.auth_refresh_age, c.Entrance.auth_refresh_strict
if "SERVER" in os.environ:
    c.JupyterHub.spawner_class = Processes
    c.Processes.network_name = "farmlet"
