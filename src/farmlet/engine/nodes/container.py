"""Sandbox nodes: Debian 13 containers that boot systemd and answer SSH. What they may do on the host stands in README.md."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farmlet.engine.nodes.driver import READY_SECONDS, Machine, SecureShell
from farmlet.engine.sandbox.docker import FOLDER_LABEL, LABEL, connect, refuse
from farmlet.errors import FarmletError, InputError

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.types import Mount

SECURITY = ["seccomp=unconfined", "apparmor=unconfined"]
DEVICES = ("/dev/fuse", "/dev/net/tun")  # file systems and networks of members' own containers
TMPFS = {"/run": "", "/run/lock": "", "/tmp": "exec"}
# as on any host: members take no port that a service of root's has while it restarts
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "1024"}
PERIOD = 100_000  # µs, of the kernel's CPU quota
GIB = 1 << 30
# the first choice of Debian 12's client is safe from computers to come and takes five times as long; here nobody listens
QUICK = {"KexAlgorithms": "curve25519-sha256"}
ATTEMPTS = 5  # to hear what a short command says


class ContainerDriver:
    """`connect: container`. All containers of a facility are on one network, at fixed addresses, labelled as its own.

    `client` None: this host's engine, asked when it is needed. `known`: known_hosts, beside the deploy key by default.
    `disk`: a folder of this host whose file system has limits, for `Machine.quotas`; without it they are volumes like others.
    """

    def __init__(
        self,
        client: DockerClient | None,
        facility: str,
        network: str,
        addresses: Mapping[str, str],
        key: Path,
        known: Path | None = None,
        disk: Path | None = None,
    ) -> None:
        self._given, self._facility, self._network = client, facility, network
        self._addresses, self._key, self._known = addresses, key, known or key.parent / "known_hosts"
        self._disk = disk

    @cached_property
    def _client(self) -> DockerClient:
        return self._given or connect()

    def name(self, machine: Machine) -> str:
        return f"farmlet-{self._facility}-{machine.name}"

    def _find(self, machine: Machine) -> Any | None:
        from docker.errors import NotFound

        try:
            found = self._client.containers.get(self.name(machine))
        except NotFound:
            return None
        if found.labels.get(LABEL) != self._facility:
            raise refuse(f"container {self.name(machine)}")
        return found

    def state(self, machine: Machine) -> str:
        found = self._find(machine)
        if found is None:
            return "absent"
        return "running" if found.status == "running" else "stopped"

    def differs(self, machine: Machine) -> str:
        found = self._find(machine)
        if not found:
            return ""
        size = self._compare(machine, found.attrs["HostConfig"])
        names = "" if self._is_named(machine, found) else f"its names should be {', '.join((machine.fqdn, *machine.aliases))}"
        volumes = [f"there is no volume for {path}" for path in self._unkept(machine, found)]
        return ", ".join(filter(None, [size, names, *volumes]))

    def _compare(self, machine: Machine, config: Mapping[str, Any]) -> str:
        faults = []
        if machine.memory and config["Memory"] != machine.memory:
            faults.append(f"memory is {config['Memory'] / GIB:g} GiB instead of {machine.memory / GIB:g}")
        if max(config["CpuQuota"], 0) != self._quota(machine):
            faults.append(f"cores are {max(config['CpuQuota'], 0) / PERIOD or 'all'} instead of {machine.cores}")
        return ", ".join(faults)

    def refusal(self, machine: Machine) -> FarmletError | None:
        found = self._find(machine)
        if not found or not (paths := self._unkept(machine, found)):
            return None
        return InputError(
            f"nodes.{machine.name}.runs",
            f"a role that is new there keeps data at {', '.join(paths)}, and its container was made without a volume for that",
            "give the role to a node of its own; or, once members' sessions, jobs and crontabs there may end, make the container "
            f"anew: copy out what these paths have in it already, `docker rm -f {self.name(machine)}`, `farmlet up`",
        )

    @staticmethod
    def _unkept(machine: Machine, container: Any) -> list[str]:
        """Paths whose data would go with the container: it keeps the volumes that it was made with, and gets no others."""
        kept = {mount["Destination"] for mount in container.attrs["Mounts"]}
        return [path for path in (*machine.data, *(path for _, path, _ in machine.shared)) if path not in kept]

    @staticmethod
    def _quota(machine: Machine) -> int:
        """µs of CPU in each period; 0: no limit, where the host has no more cores than that."""
        return machine.cores * PERIOD if machine.cores and machine.cores < (os.cpu_count() or 1) else 0

    def ensure(self, machine: Machine) -> None:
        from docker.errors import APIError

        container = self._find(machine) or self._make(machine)
        try:
            if self._compare(machine, container.attrs["HostConfig"]):
                # swap is limited with memory: the old sum of both may not be less than the new memory
                size = {"mem_limit": machine.memory, "memswap_limit": 2 * machine.memory} if machine.memory else {}
                container.update(cpu_period=PERIOD, cpu_quota=self._quota(machine) or -1, **size)
            if not self._is_named(machine, container):
                network = self._client.networks.get(self._network)
                network.disconnect(container)
                network.connect(container, aliases=[machine.fqdn, *machine.aliases], ipv4_address=self._addresses[machine.name])
            if container.status != "running":
                container.start()
        except APIError as error:
            hint = f"docker logs {self.name(machine)}"
            raise FarmletError(f"node {machine.name}", f"its container does not start: {error.explanation}", hint) from error
        self._wait(machine, container)

    def _is_named(self, machine: Machine, container: Any) -> bool:
        """Whether all its names, and no others, lead to it; Docker adds names of its own, which have no dots."""
        joined = container.attrs["NetworkSettings"]["Networks"].get(self._network, {})
        return {name for name in joined.get("Aliases") or () if "." in name} == {machine.fqdn, *machine.aliases}

    def _make(self, machine: Machine) -> Any:
        api = self._client.api
        endpoint = api.create_endpoint_config(
            aliases=[machine.fqdn, *machine.aliases], ipv4_address=self._addresses[machine.name]
        )
        host = api.create_host_config(
            cap_add=["SYS_ADMIN", "NET_ADMIN"],
            devices=[f"{path}:{path}:rwm" for path in DEVICES if Path(path).exists()],
            security_opt=SECURITY,
            tmpfs=TMPFS,
            sysctls=SYSCTLS,
            mounts=self._mounts(machine),
            mem_limit=machine.memory,
            cpu_period=PERIOD,
            cpu_quota=self._quota(machine) or None,
        )
        # an unmasked /proc: process namespaces inside the node (Apptainer's) are refused otherwise
        host |= {"CgroupnsMode": "private", "MaskedPaths": [], "ReadonlyPaths": []}
        made = api.create_container(
            machine.image,
            command=["/usr/local/sbin/farmlet-init"],
            name=self.name(machine),
            hostname=machine.fqdn,
            environment={"container": "docker"},
            labels={LABEL: self._facility, FOLDER_LABEL: str(self._key.parent), "farmlet.node": machine.name},
            host_config=host,
            networking_config=api.create_networking_config({self._network: endpoint}),  # type: ignore[arg-type]  # the stubs are wrong
            stop_signal="SIGRTMIN+3",
        )
        return self._client.containers.get(made["Id"])

    def _mounts(self, machine: Machine) -> list[Mount]:
        own = [self._mount(self._own(machine, path), path, "rw", machine) for path in machine.data]
        return own + [self._mount(self._volume(name), path, mode, machine) for name, path, mode in machine.shared]

    def _mount(self, name: str, path: str, mode: str, machine: Machine) -> Mount:
        from docker.types import Mount

        if self._disk and path in machine.quotas:
            source = self._disk / name
            source.mkdir(exist_ok=True)
            return Mount(path, str(source), "bind", read_only=mode == "ro")
        self._client.volumes.create(name, labels={LABEL: self._facility})
        return Mount(path, name, "volume", read_only=mode == "ro")

    def _own(self, machine: Machine, path: str) -> str:
        """The volume that holds this path of this machine alone."""
        return self._volume(f"{machine.name}-{re.sub(r'[^a-z0-9]+', '-', path.lower()).strip('-')}")

    def _volume(self, name: str) -> str:
        return f"farmlet-{self._facility}-{name}"

    def _wait(self, machine: Machine, container: Any) -> None:
        """Until systemd and sshd are up; then the deploy key is put in place (it is not part of any image)."""
        end = time.monotonic() + READY_SECONDS
        ready = "[ -S /run/systemd/private ] && systemctl is-active -q ssh.service && [ -s /etc/ssh/ssh_host_ed25519_key.pub ]"
        while not self._runs(container, ready):
            container.reload()
            if container.status not in ("running", "created"):
                tail = container.logs(tail=5).decode(errors="replace")
                raise FarmletError(f"node {machine.name}", f"its container ended: {tail}", f"docker logs {self.name(machine)}")
            if time.monotonic() > end:
                raise FarmletError(
                    f"node {machine.name}",
                    f"did not boot within {READY_SECONDS} s",
                    f"docker exec {self.name(machine)} systemctl --failed",
                )
            time.sleep(0.2)
        public = self._key.with_suffix(".pub").read_text().strip()
        script = f"install -d -m 0700 /root/.ssh && echo '{public}' > /root/.ssh/authorized_keys"
        if not self._runs(container, script):
            raise FarmletError(f"node {machine.name}", "does not take the deploy key", f"docker logs {self.name(machine)}")

    @staticmethod
    def _runs(container: Any, script: str) -> bool:
        """Whether a shell script succeeds inside; not in a container that has ended."""
        from docker.errors import APIError

        try:
            return bool(container.exec_run(["sh", "-c", script])[0] == 0)
        except APIError:
            return False

    def shell(self, machine: Machine) -> SecureShell:
        return SecureShell(self.address(machine), 22, "root", self._key, self._known, QUICK)

    def address(self, machine: Machine) -> str:
        if machine.name not in self._addresses:
            raise FarmletError(f"node {machine.name}", "is new in the facility file and not made yet", "farmlet up")
        return self._addresses[machine.name]

    def host_key(self, machine: Machine) -> str:
        found = self._find(machine)
        if found is None:
            raise FarmletError(f"node {machine.name}", "is not there", "farmlet up")
        text = ""
        for _ in range(ATTEMPTS):  # on a busy machine Docker may lose what a short command says
            code, output = found.exec_run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
            text = output.decode(errors="replace")
            if code or text:
                break
            time.sleep(0.2)
        if not text.startswith("ssh-ed25519 "):
            raise FarmletError(f"node {machine.name}", f"shows no host key: {text.strip()}", f"docker logs {self.name(machine)}")
        return " ".join(text.split()[:2])

    def stop(self, machine: Machine) -> None:
        found = self._find(machine)
        if found is not None and found.status == "running":
            found.stop(timeout=20)

    def remove(self, machine: Machine) -> None:
        found = self._find(machine)
        if found is not None:
            found.remove(force=True, v=True)
        for path in machine.data:
            if self._disk:
                shutil.rmtree(self._disk / self._own(machine, path), ignore_errors=True)
            mine = {"name": f"^{self._own(machine, path)}$", "label": f"{LABEL}={self._facility}"}
            for volume in self._client.volumes.list(filters=mine):
                volume.remove()
