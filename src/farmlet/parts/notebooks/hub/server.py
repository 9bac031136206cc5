"""One member's server: a container as their own user, with their home, a fresh token and the software of jobs."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
from html import escape
from pathlib import Path
from typing import Any

from dockerspawner import DockerSpawner

from farmlet.facility.places import CREDENTIAL, NOTEBOOK
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.notebooks.roster import NOT_HERE, Member, Roster
from farmlet.parts.notebooks.sizes import CHOICES, LEAST, Size, choose, limit, suggest
from farmlet.runtime.files import write

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PROCESSES = 4096
IMAGE_SECONDS = 90
NO_CREDENTIAL = (
    "<p>You have no credential for storage here yet, so the notebook has no token. To give it once, also while the server runs: "
    "<code>farmlet-credential</code> on the log-in node.</p>"
)
TMP = "rw,nosuid,nodev,exec,mode=1777"


class Refused(Exception):
    """A server that does not start; the Hub shows the words."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.jupyterhub_message = words


class Server(DockerSpawner):  # type: ignore[misc]
    """A container that may do what its member may on the node, and no more."""

    user_options: dict[str, Any]
    settings: Settings  # both set by `configuration`
    roster: Roster

    def options_form(self, *_: Any) -> str:
        """The fields of the page; within the member's limits."""
        most = self.find_limit()
        start = suggest(self.settings.usual, most)
        least = min(LEAST / (1 << 30), most.gib)
        return (
            f"<p>Software: <strong>{escape(Path(self.settings.image).name)}</strong>, the same as in jobs.</p>"
            f"{'' if self.has_credential() else NO_CREDENTIAL}"
            f'<label for="cores">Cores (up to {most.cores})</label>'
            f'<input class="form-control" id="cores" name="cores" type="number" min="1" max="{most.cores}" value="{start.cores}">'
            f'<label for="memory">Memory in GiB (up to {most.gib:g})</label>'
            f'<input class="form-control" id="memory" name="memory" type="number" min="{least:g}" max="{most.gib:g}" step="0.5" '
            f'value="{start.gib:g}">'
        )

    def options_from_form(self, form: dict[str, list[str]]) -> dict[str, str]:
        return {name: values[0] for name, values in form.items() if name in CHOICES and values}

    def has_credential(self) -> bool:
        return Path(self.settings.credentials, self.user.name, f"{CREDENTIAL}.use").exists()

    def find_member(self) -> Member:
        member = self.roster.find(self.user.name)
        if member is None:
            raise Refused(NOT_HERE)
        return member

    def find_limit(self) -> Size:
        member = self.find_member()
        return limit(self.settings.usual, member.cores, member.memory)

    async def start(self, *_: Any, **__: Any) -> Any:
        """Everything is looked at anew: groups may have changed, and wishes come by the API too."""
        member = self.find_member()
        if Path(self.settings.closed).exists():
            raise Refused("This node is being emptied: no notebook begins here just now.")
        try:
            size = choose(self.user_options, self.settings.usual, self.find_limit())
        except ValueError as error:
            raise Refused(str(error)) from error
        self.user_options = {"cores": size.cores, "memory": size.gib}  # nothing else of it counts
        self.image = self.find_image()
        await self.await_image()
        self.arrange(member, size)
        return await super().start()

    async def await_image(self) -> None:
        """The node makes the container image of what was published a moment ago."""
        for _ in range(IMAGE_SECONDS):
            if await self.docker("images", name=self.image):
                return
            await asyncio.sleep(1)
        raise Refused("The software is not ready on this node yet. Try again in a minute.")

    def find_image(self) -> str:
        """The container image made of what is published now; its name says of which content."""
        try:
            name, digest = Path(self.settings.image, "etc/farmlet-image").read_text().split()
        except (OSError, ValueError) as error:
            raise Refused("The software is not published yet. Try again in a minute.") from error
        return f"farmlet/{name}:{digest[:12]}"

    def arrange(self, member: Member, size: Size) -> None:
        """What the container is made with."""
        told = self.settings
        groups = os.getgrouplist(member.name, member.gid)
        token = Path(told.tokens, member.name)
        token.mkdir(mode=0o755, exist_ok=True)  # from now on there is a token in it
        scratch = f"{told.scratch}/{member.name}"
        folders = [member.home, *([scratch] if Path(scratch).is_dir() else [])]
        passwd, group = self.write_names(member, groups)
        inside = f"{told.sessions}/{member.name}"
        self.volumes = {folder: folder for folder in folders}
        self.read_only_volumes = {
            str(token): inside,
            str(passwd): "/etc/passwd",
            str(group): "/etc/group",
            BUNDLE: BUNDLE,
            told.lab: "/usr/local/share/jupyter/lab/settings/overrides.json",
            "/cvmfs": "/cvmfs",
        }
        self.notebook_dir = member.home
        self.cpu_limit, self.mem_limit = float(size.cores), size.memory
        self.environment = {
            "HOME": member.home,
            "USER": member.name,
            "LOGNAME": member.name,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "BEARER_TOKEN_FILE": f"{inside}/token",
            "SSL_CERT_FILE": BUNDLE,
            "REQUESTS_CA_BUNDLE": BUNDLE,
            "X509_CERT_DIR": told.certificates,
            # off the home: with a full one the server starts all the same
            "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",
            "MPLCONFIGDIR": "/tmp/matplotlib",
        }
        self.extra_create_kwargs = {"user": f"{member.uid}:{member.gid}", "labels": {NOTEBOOK: member.name}}
        self.extra_host_config = {
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": PROCESSES,
            "memswap_limit": size.memory,
            "init": True,
            "read_only": True,
            "tmpfs": {"/tmp": TMP, "/run/lock": TMP, "/var/tmp": TMP},
            "group_add": [str(gid) for gid in groups if gid != member.gid],
        }

    def write_names(self, member: Member, groups: list[int]) -> tuple[Path, Path]:
        """The image's users and groups and this one's, so that names resolve."""
        home = pwd.getpwuid(member.uid)
        line = f"{member.name}:x:{member.uid}:{member.gid}:{home.pw_gecos}:{member.home}:/bin/bash\n"
        found = [grp.getgrgid(gid) for gid in groups]
        lines = "".join(f"{one.gr_name}:x:{one.gr_gid}:{member.name}\n" for one in found)
        folder = Path(self.settings.state, "names", member.name)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name, text in (("passwd", line), ("group", lines)):
            write(folder / name, (Path(self.settings.image, "etc", name).read_text() + text).encode(), 0o644)
        return folder / "passwd", folder / "group"

    async def stop(self, now: bool = False) -> None:
        await super().stop(now)
        shutil.rmtree(Path(self.settings.tokens, self.user.name), ignore_errors=True)
