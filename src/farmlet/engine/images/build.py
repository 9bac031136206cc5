"""Node images: `install` run on a blank node and kept by content. No name, no key and no machine id is ever in one."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from farmlet.engine.images import sources, trees
from farmlet.engine.sandbox.docker import BASE_LABEL, LABEL
from farmlet.errors import FarmletError, InputError
from farmlet.parts.resources import Wanted

if TYPE_CHECKING:
    from docker import DockerClient

SUITE = "trixie"
PACKAGES = (
    "systemd,systemd-sysv,dbus,libpam-systemd,ca-certificates,openssl,iproute2,procps,python3,python3-venv,"
    "openssh-server,openssh-client,login"
)
REPOSITORY = "farmlet/node"


def content(install: Sequence[Wanted], base: str) -> str:
    """The content key of a node image: the base and every install resource in order."""
    digests = "".join(resource.digest for wanted in install for resource in wanted.resources)
    return hashlib.sha256(f"{base}{digests}{SCRUB}".encode()).hexdigest()[:16]


def tag(key: str) -> str:
    return f"{REPOSITORY}:{key}"


def exists(client: DockerClient, key: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(tag(key))
    except ImageNotFound:
        return False
    return True


@dataclass(frozen=True)
class Base:
    """The blank node: a minimal Debian 13 with systemd and an SSH server. `mirror` is the facility file's, if it names one."""

    mirror: str | None = None

    @property
    def key(self) -> str:
        init = files("farmlet.engine.nodes").joinpath("init.sh").read_text()
        options = "".join(sources.apt_options())  # they stay in the image
        return hashlib.sha256(f"{SUITE}{PACKAGES}{init}{SCRUB}{options}".encode()).hexdigest()[:16]

    def ensure(self, client: DockerClient, tell: Callable[[str], None]) -> str:
        """The tag of the blank node's image, made by mmdebstrap when it is not there."""
        if not exists(client, self.key):
            tell("base image (Debian 13)")
            self._make(client)
        return tag(self.key)

    def _make(self, client: DockerClient) -> None:
        with tempfile.TemporaryDirectory(prefix="farmlet-", dir="/var/tmp") as folder:
            init = Path(folder) / "farmlet-init"
            init.write_text(files("farmlet.engine.nodes").joinpath("init.sh").read_text())
            init.chmod(0o755)
            hook = f'cp {init} "$1/usr/local/sbin/farmlet-init" && chroot "$1" sh -c {shlex.quote(SCRUB)}'
            archive = Path(folder) / "base.tar"
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", f"--customize-hook={hook}"]
            command += [f"--aptopt={option}" for option in sources.apt_options()]
            lines = sources.debian(SUITE, self.mirror)
            try:
                done = subprocess.run(
                    [*command, SUITE, str(archive), *lines], stdin=subprocess.DEVNULL, capture_output=True, text=True
                )
            except FileNotFoundError:
                raise InputError(
                    "mmdebstrap", "is not installed here", "apt-get install mmdebstrap, or run `make setup`"
                ) from None
            if done.returncode:
                tail = "\n  ".join(done.stderr.strip().splitlines()[-6:])
                raise FarmletError(
                    "base image", f"mmdebstrap failed:\n  {tail}", "is a Debian mirror reachable? `sources.apt` names one"
                )
            label = [f"LABEL {BASE_LABEL}={self.key}"]
            client.api.import_image(str(archive), repository=REPOSITORY, tag=self.key, changes=label)


# What packages leave behind that must be each node's own: keys, machine ids, random seeds, logs. The last line looks for
# any private key that is still there; test data inside Python environments is upstream's published material.
SCRUB = r"""
rm -f /etc/ssh/ssh_host_* /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem /etc/munge/munge.key
rm -rf /root/.ssh /root/.cache /run/farmlet /etc/condor/passwords.d/* /etc/condor/tokens.d/* /var/lib/condor/spool/*
rm -f /var/lib/systemd/random-seed /var/lib/dbus/machine-id
: > /etc/machine-id
apt-get clean
find /var/log -type f -delete
rm -rf /var/log/journal /tmp/* /var/tmp/*
found=$(grep -rlIE -e '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' /etc /root /home /var/lib /srv 2>/dev/null | grep -v /site-packages/ || true)
[ -z "$found" ] || { echo "private keys in the image: $found" >&2; exit 1; }
"""  # noqa: E501


def commit(client: DockerClient, container: str, key: str, held: Mapping[str, str]) -> None:
    """Make an image of a stopped build container that holds these `trees`. The scrub has run, and its verdict is known."""
    client.containers.get(container).commit(
        repository=REPOSITORY,
        tag=key,
        changes=[f"LABEL {BASE_LABEL}={key}", f"LABEL {LABEL}=", trees.label(held)],
        message="farmlet install",
    )


def remove(client: DockerClient, names: Iterable[str]) -> None:
    """Remove those of these images (tags or ids) that no container of any facility uses."""
    from docker.errors import APIError

    used = {container.attrs["Image"] for container in client.containers.list(all=True, ignore_removed=True)}
    for name in names:
        try:
            if client.images.get(name).id not in used:
                client.images.remove(name)
        except APIError as error:
            if error.status_code not in (404, 409):  # gone, or another image's base: its own purge takes it
                raise FarmletError(f"image {name}", f"cannot be removed: {error.explanation}", "docker images") from error
