"""A server as a container of Docker's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests.exceptions
from docker.errors import DockerException
from dockerspawner import DockerSpawner
from traitlets import default

from farmlet.facility.places import NOTEBOOK
from farmlet.parts.notebooks.hub.container import PROCESSES
from farmlet.parts.notebooks.hub.server import LATER, Refused, Server

IMAGE_SECONDS = 90
NO_DOCKER = f"Docker on this node does not answer just now. {LATER}"
NOT_MADE = "Docker on this node could not make your server. Your admins find the reason in the Hub's log."


class Container(Server, DockerSpawner):  # type: ignore[misc]
    """DockerSpawner's, with what `container.arrange` told."""

    @default("name_template")
    def _name_template(self) -> str:
        """Of the container. A dot is in no member's name: no two may have the same."""
        return "farmlet-notebook-{username}" + (".{servername}" if self.name else "")

    async def start(self, *_: Any, **__: Any) -> Any:
        with self.explaining():
            return await super().start()

    async def await_image(self, tag: str) -> None:
        """The node makes the container image of what was published a moment ago."""
        self.image = tag
        for _ in range(IMAGE_SECONDS):
            if await self.docker("images", name=tag):
                return
            await asyncio.sleep(1)
        raise Refused("image", f"The software ({tag}) is not ready on this node yet. {LATER}")

    async def launch(self) -> tuple[str, int]:
        owner = self.owner
        self.extra_create_kwargs = {"user": f"{owner.uid}:{owner.gid}", "labels": {NOTEBOOK: owner.name}}
        self.extra_host_config = {
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": PROCESSES,
            "memswap_limit": int(self.mem_limit),
            "read_only": True,
            "tmpfs": self.in_memory,
            "group_add": [str(gid) for gid in self.groups if gid != owner.gid],
        }
        host, port = await DockerSpawner.start(self)
        return host, port

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """What Docker says is for admins; the member is told what it means for them."""
        try:
            yield
        except DockerException as error:
            self.log.error("%s: %s", self.user.name, error)
            raise Refused("docker", NOT_MADE if hasattr(error, "response") else NO_DOCKER) from error
        except requests.exceptions.RequestException as error:
            self.log.error("%s: Docker: %s", self.user.name, error)
            raise Refused("docker", NO_DOCKER) from error

    async def find_end(self) -> tuple[int, bool, str]:
        state = (await self.docker("inspect_container", self.container_id))["State"]
        said = (await self.docker("logs", self.container_id, tail=12)).decode(errors="replace")
        return state["ExitCode"], bool(state.get("OOMKilled")), said

    async def end(self, now: bool = False) -> None:
        await DockerSpawner.stop(self, now)
