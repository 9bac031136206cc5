"""Sandbox nodes: Debian 13 containers that boot systemd and answer SSH, unprivileged but for the flags they need."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import docker
import docker.errors

from farmlet.engine.docker import LABEL
from farmlet.engine.nodes.driver import READY_SECONDS, Machine, SecureShell
from farmlet.errors import FarmletError, InputError

SECURITY = ["seccomp=unconfined", "apparmor=unconfined"]
TMPFS = {"/run": "", "/run/lock": "", "/tmp": "exec"}


class ContainerDriver:
    """`connect: container`. All containers of a facility are on one network, at fixed addresses, labelled as its own."""

    def __init__(
        self, client: docker.DockerClient, facility: str, network: str, addresses: dict[str, str], key: Path
    ) -> None:
        self._client, self._facility, self._network = client, facility, network
        self._addresses, self._key = addresses, key

    def name(self, machine: Machine) -> str:
        return f"farmlet-{self._facility}-{machine.name}"

    def _find(self, machine: Machine) -> Any | None:
        try:
            found = self._client.containers.get(self.name(machine))
        except docker.errors.NotFound:
            return None
        if found.labels.get(LABEL) != self._facility:
            raise InputError(
                f"container {self.name(machine)}",
                "exists already and is not ours",
                "rename the facility (facility.name)",
            )
        return found

    def state(self, machine: Machine) -> str:
        found = self._find(machine)
        if found is None:
            return "absent"
        return "running" if found.status == "running" else "stopped"

    def ensure(self, machine: Machine) -> None:
        container = self._find(machine) or self._make(machine)
        if container.status != "running":
            container.start()
        self._wait(machine, container)

    def _make(self, machine: Machine) -> Any:
        api = self._client.api
        endpoint = api.create_endpoint_config(aliases=[machine.fqdn], ipv4_address=self._addresses[machine.name])
        host = api.create_host_config(
            cap_add=["SYS_ADMIN", "NET_ADMIN"],
            devices=["/dev/fuse:/dev/fuse:rwm"],
            security_opt=SECURITY,
            tmpfs=TMPFS,
            binds=self._binds(machine),
            mem_limit=machine.memory,
            nano_cpus=int(machine.cores * 1e9) if machine.cores and machine.cores < (os.cpu_count() or 1) else None,
        )
        # an unmasked /proc: process namespaces inside the node (Apptainer's) are refused otherwise
        host |= {"CgroupnsMode": "private", "MaskedPaths": [], "ReadonlyPaths": []}
        made = api.create_container(
            machine.image,
            command=["/usr/local/sbin/farmlet-init"],
            name=self.name(machine),
            hostname=machine.fqdn,
            environment={"container": "docker"},
            labels={LABEL: self._facility, "farmlet.node": machine.name},
            host_config=host,
            networking_config=api.create_networking_config({self._network: endpoint}),
            stop_signal="SIGRTMIN+3",
        )
        return self._client.containers.get(made["Id"])

    def _binds(self, machine: Machine) -> list[str]:
        binds = []
        for path in machine.data:
            slug = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")
            binds.append(f"{self._volume(f'{machine.name}-{slug}')}:{path}:rw")
        for volume, path, mode in machine.shared:
            binds.append(f"{self._volume(volume)}:{path}:{mode}")
        return binds

    def _volume(self, name: str) -> str:
        full = f"farmlet-{self._facility}-{name}"
        self._client.volumes.create(full, labels={LABEL: self._facility})
        return full

    def _wait(self, machine: Machine, container: Any) -> None:
        """Until systemd and sshd are up; then the deploy key is put in place (it is not part of any image)."""
        end = time.monotonic() + READY_SECONDS
        ready = "[ -S /run/systemd/private ] && systemctl is-active -q ssh.service && [ -s /etc/ssh/ssh_host_ed25519_key.pub ]"
        while container.exec_run(["sh", "-c", ready])[0] != 0:
            container.reload()
            if container.status not in ("running", "created"):
                tail = container.logs(tail=5).decode(errors="replace")
                raise FarmletError(
                    f"node {machine.name}", f"its container ended: {tail}", f"docker logs {self.name(machine)}"
                )
            if time.monotonic() > end:
                raise FarmletError(
                    f"node {machine.name}",
                    f"did not boot within {READY_SECONDS} s",
                    f"docker exec {self.name(machine)} systemctl --failed",
                )
            time.sleep(0.2)
        public = self._key.with_suffix(".pub").read_text().strip()
        script = f"install -d -m 0700 /root/.ssh && echo '{public}' > /root/.ssh/authorized_keys"
        container.exec_run(["sh", "-c", script])

    def shell(self, machine: Machine) -> SecureShell:
        return SecureShell(self.address(machine), 22, "root", self._key, self._key.parent / "known_hosts")

    def address(self, machine: Machine) -> str:
        return self._addresses[machine.name]

    def host_key(self, machine: Machine) -> str:
        found = self._find(machine)
        if found is None:
            raise FarmletError(f"node {machine.name}", "is not there", "farmlet up")
        text = found.exec_run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])[1].decode()
        return " ".join(text.split()[:2])

    def stop(self, machine: Machine) -> None:
        found = self._find(machine)
        if found is not None and found.status == "running":
            found.stop(timeout=20)

    def remove(self, machine: Machine) -> None:
        found = self._find(machine)
        if found is not None:
            found.remove(force=True, v=True)
