"""systemd units of our own services: one way to write them, so that each has its own user and the same hardening.

Every setting here was seen to start in a node. PrivateUsers is left out: together with ProtectProc it needs a
capability that nodes in containers lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from farmlet.parts.resources import File, Resource, Unit

NODE = "/opt/farmlet/base"  # environment of what runs on every node: the agent and the like
SERVICE = "/opt/farmlet/service"  # environment of the control node's services (part base makes it)
SOCKETS = "/run/farmlet-proxy"  # where the reverse proxy finds them
# after these a service closes a connection that nobody uses. The reverse proxy has to do it first, or it sends a request
# into one that is just being closed, and the client gets an error 502. Short, for what the last request carried, a
# refresh token perhaps, stays in memory as long
IDLE_SECONDS = 3

HARDENING = """\
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateIPC=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""


@dataclass(frozen=True)
class Service:
    """A program of ours under systemd, as `user` (which has a group of that name).

    `then`: commands that follow, each once the one before has ended well (oneshot only). `writable`: paths it may write
    to; `credentials`: LoadCredential by name; `kind`: Type= of systemd. `needs` are
    units without which it does not start, `after` those that merely come first. `network`: the unit whose private network it
    shares, its own name for one of its own: what listens there is not for other programs of the node.
    """

    name: str
    description: str
    user: str
    command: str
    kind: str = "exec"
    then: Sequence[str] = ()
    writable: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)
    needs: Sequence[str] = ()
    after: Sequence[str] = ()
    install: bool = True
    runtime: str = ""  # a folder of its own below /run, gone with the service
    network: str = ""

    @property
    def file(self) -> File:
        """Its unit file."""
        lines = ["[Unit]", f"Description={self.description}", "After=network-online.target"]
        lines += [f"Requires={unit}\nAfter={unit}" for unit in self.needs]
        lines += [f"After={unit}" for unit in self.after]
        lines += [f"JoinsNamespaceOf={self.network}.service"] if self.network not in ("", self.name) else []
        # it is started again however often it fails: a facility mends itself once the cause is gone
        lines += ["StartLimitIntervalSec=0", "", "[Service]", f"Type={self.kind}", f"User={self.user}"]
        lines += [f"Group={self.user}", "UMask=0027", *(f"ExecStart={one}" for one in (self.command, *self.then))]
        if self.kind != "oneshot":
            lines += ["Restart=always", "RestartSec=2", "TimeoutStopSec=10"]
        lines += [f'Environment="{name}={value}"' for name, value in self.environment.items()]
        lines += [f"LoadCredential={name}:{path}" for name, path in self.credentials.items()]
        lines += [f"ReadWritePaths={path}" for path in self.writable]
        lines += ["PrivateNetwork=yes"] if self.network else []
        if self.runtime:
            lines += [f"RuntimeDirectory={self.runtime}", "RuntimeDirectoryMode=0700"]
        text = "\n".join(lines) + "\n" + HARDENING
        if self.install:
            text += "\n[Install]\nWantedBy=multi-user.target\n"
        return File(f"/etc/systemd/system/{self.name}.service", text)

    @property
    def unit(self) -> Unit:
        return Unit(f"{self.name}.service")


@dataclass(frozen=True)
class Trigger:
    """What starts the service of the same name: `kind` is `timer`, `path` or `socket`, `when` the lines of that section."""

    name: str
    kind: str
    description: str
    when: Sequence[str]

    @property
    def file(self) -> File:
        """Its unit file."""
        text = f"[Unit]\nDescription={self.description}\n\n[{self.kind.capitalize()}]\n" + "".join(
            f"{line}\n" for line in self.when
        )
        return File(f"/etc/systemd/system/{self.name}.{self.kind}", f"{text}\n[Install]\nWantedBy={self.kind}s.target\n")

    @property
    def unit(self) -> Unit:
        return Unit(f"{self.name}.{self.kind}")


@dataclass(frozen=True)
class Web:
    """A WSGI service on a unix socket that only the reverse proxy may open.

    systemd holds the socket, so a restart of the service refuses nobody; `app` is gunicorn's `module:callable` in the
    environment `venv`. `workers`: gunicorn's options for them, if one with `threads` will not do.
    """

    name: str  # of the unit
    socket: str  # name below SOCKETS, without ending
    description: str
    user: str
    app: str
    threads: int = 8
    writable: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    venv: str = SERVICE
    workers: str = ""
    runtime: str = ""
    credentials: Mapping[str, str] = field(default_factory=dict)

    @property
    def service(self) -> Service:
        # one worker: the services keep little state, but what they keep (keys, open waits) is kept once
        workers = self.workers or f"--workers 1 --threads {self.threads}"
        command = (
            f"{self.venv}/bin/gunicorn {workers} --no-control-socket --graceful-timeout 3 --keep-alive {IDLE_SECONDS} "
            f"--worker-tmp-dir /dev/shm --access-logfile /dev/null '{self.app}'"
        )
        return Service(
            name=self.name,
            description=self.description,
            user=self.user,
            command=command,
            kind="notify",
            writable=self.writable,
            environment=self.environment,
            credentials=self.credentials,
            needs=(f"{self.name}.socket",),
            runtime=self.runtime,
        )

    @property
    def _listener(self) -> Trigger:
        who = ("SocketUser=root", "SocketGroup=caddy", "SocketMode=0660", "DirectoryMode=0755")
        return Trigger(self.name, "socket", f"{self.description} (socket)", (f"ListenStream={SOCKETS}/{self.socket}.sock", *who))

    @property
    def files(self) -> tuple[Resource, ...]:
        """The unit files of socket and service."""
        return (self._listener.file, self.service.file)

    @property
    def units(self) -> tuple[Resource, ...]:
        """The units, to stand after all that the service reads."""
        return (self._listener.unit, self.service.unit)
