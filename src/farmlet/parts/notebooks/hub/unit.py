"""A server as a unit of systemd, on a node without Docker: the image's root, a network of its own, limits of its cgroup."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterator
from ipaddress import ip_network
from itertools import cycle
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.places import SERVER
from farmlet.parts.notebooks.hub.container import PROCESSES
from farmlet.parts.notebooks.hub.server import Refused, Server
from farmlet.parts.notebooks.limits import find_unlimited
from farmlet.runtime import program
from farmlet.runtime.files import write

BASE = "farmlet-notebook-base@{}.service"  # the network and the root of a server, by number
NAMESPACE = "/run/netns/farmlet-{}"
ROOT = "/run/farmlet-servers/{}/root"
NUMBERS = range(2, 4000)
PORT = 8888
SHOWN = ("ActiveState", "ExecMainStatus", "Result", "ControlGroup", "InvocationID")
NOT_MADE = "This node could not make your server. Your admins find the reason in the journal of {}."
UNLIMITED = "This node does not limit the {} of a server, so none begins here. Tell your admins: notebooks.limits says more."


async def run(*words: str) -> str:
    """What a program says. Raises FarmletError."""
    return (await asyncio.to_thread(program.run, words)).decode(errors="replace")


def quote(value: str) -> str:
    """As a value in a file of variables: systemd.exec(5), EnvironmentFile=."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value.replace("\n", " ")) + '"'


class Unit(Server):
    """Its unit has its member's name, so a Hub that begins anew finds it. Its address is of a number that is not used again soon:
    the proxy may lead there for a moment after its end."""

    numbers = cycle(NUMBERS)
    volumes: dict[str, str]  # these are told by `container.arrange`
    read_only_volumes: dict[str, Any]
    in_memory: dict[str, str]

    @property
    def unit(self) -> str:
        more = f".{hashlib.sha256(self.name.encode()).hexdigest()[:12]}" if self.name else ""
        return f"{SERVER}{self.user.name}{more}.service"

    async def launch(self) -> tuple[str, int]:
        await self.end()
        number = next(one for one in self.numbers if not Path(NAMESPACE.format(one)).exists())
        self.ip, self.port = str(ip_network(self.settings.network)[number]), PORT
        folder = Path(self.settings.state, "servers")
        folder.mkdir(mode=0o700, exist_ok=True)
        base, told = folder / str(number), folder / f"{number}.env"
        write(base, str(self.root).encode(), 0o600)
        # not by its properties, which everybody may read
        write(told, "".join(f"{name}={quote(value)}\n" for name, value in self.get_env().items()).encode(), 0o600)
        try:
            await run("systemd-run", *self.describe(number, told), "--", *self.cmd, *self.get_args())
            group = (await self.show())["ControlGroup"]  # "": it has ended already
            if lacking := group and find_unlimited(group):
                await self.end()
                raise Refused("limits", UNLIMITED.format(" and the ".join(lacking)))
        except FarmletError as error:
            self.log.error("%s: %s", self.user.name, error)
            await self.end()
            raise Refused("unit", NOT_MADE.format(self.unit)) from error
        finally:
            base.unlink()
            told.unlink()
        return self.ip, self.port

    def describe(self, number: int, environment: Path) -> Iterator[str]:
        """Options of systemd-run. What is the same for all is in the template `server.conf`."""
        base, home = BASE.format(number), self.owner.home
        shown = {path: one["bind"] if isinstance(one, dict) else one for path, one in self.read_only_volumes.items()}
        shown[f"{self.settings.inside}/resolv.conf"] = "/etc/resolv.conf"
        shown[f"{self.settings.inside}/hosts"] = "/etc/hosts"
        # the root is the whole image
        shown = {path: inside for path, inside in shown.items() if inside != "/usr"}
        yield from ("--quiet", "--service-type=exec", f"--unit={self.unit}", f"--uid={self.owner.name}")
        yield f"--description=Notebook of {self.owner.name}"
        for words in (
            f"BindsTo={base}",
            f"After={base}",
            f"RootDirectory={ROOT.format(number)}",
            f"NetworkNamespacePath={NAMESPACE.format(number)}",
            f"EnvironmentFile={environment}",
            f"WorkingDirectory={home}",
            f"MemoryMax={self.mem_limit}",
            f"CPUQuota={round(100 * self.cpu_limit)}%",
            f"TasksMax={PROCESSES}",
            "BindPaths=" + " ".join(f"{path}:{inside}" for path, inside in self.volumes.items()),
            "BindReadOnlyPaths=" + " ".join(f"{path}:{inside}" for path, inside in shown.items()),
            "TemporaryFileSystem=" + " ".join(f"{path}:{options}" for path, options in self.in_memory.items()),
        ):
            yield f"--property={words}"

    async def show(self) -> dict[str, str]:
        said = await run("systemctl", "show", *(f"--property={one}" for one in SHOWN), self.unit)
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    async def poll(self) -> int | None:
        told = await self.show()
        if told["ActiveState"] not in ("inactive", "failed"):
            return None
        if self.pending != "spawn":  # or else somebody is about to ask why
            await self.end()
        return int(told["ExecMainStatus"])

    async def find_end(self) -> tuple[int, bool, str]:
        told = await self.show()
        said = await run("journalctl", "--quiet", "-n12", "-ocat", f"_SYSTEMD_INVOCATION_ID={told['InvocationID']}")
        await self.end()
        return int(told["ExecMainStatus"]), told["Result"] == "oom-kill", said

    async def end(self, now: bool = False) -> None:
        await run("sh", "-c", 'systemctl stop "$0"; systemctl reset-failed "$0"; true', self.unit)
