"""The member's own machine: nothing but the tools every such machine has (ssh, scp, curl, ssh-keygen)."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from farmlet.demo.stage import Stage
from farmlet.errors import FarmletError

CONFIG = """\
Host {host}
  User {user}
  IdentityFile "{key}"
  CertificateFile "{key}-cert.pub"
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile "{known}"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 10
  ServerAliveInterval 5
  ServerAliveCountMax 3
  LogLevel ERROR
"""


class Machine:
    """Runs programs for the member. Secrets go to programs on their standard input only, never as arguments."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.key = stage.workdir / "id_ed25519"
        self.config = stage.workdir / "ssh_config"

    def run(self, where: str, command: Sequence[str], given: bytes = b"", timeout: float = 120) -> str:
        """Standard output of a command. Raises FarmletError at `where` if it fails or takes over `timeout` seconds."""
        try:
            done = subprocess.run(command, input=given, capture_output=True, timeout=timeout)
        except FileNotFoundError as error:
            raise FarmletError(where, f"{command[0]} is not installed", f"apt install {command[0]}") from error
        except subprocess.TimeoutExpired as error:
            raise FarmletError(where, f"{command[0]} did not answer in {timeout:.0f} s") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-600:]
            raise FarmletError(where, f"{command[0]} failed ({done.returncode}): {said or 'it said nothing'}")
        return done.stdout.decode()

    def ssh(self, script: str, given: bytes = b"", timeout: float = 120) -> str:
        """Run a shell script on the log-in node as the member."""
        command = ["ssh", "-F", str(self.config), self.stage.host, script]
        return self.run(f"ssh {self.stage.host}", command, given, timeout)

    def send(self, sources: Sequence[Path], target: str) -> None:
        command = ["scp", "-q", "-r", "-F", str(self.config), *map(str, sources), f"{self.stage.host}:{target}"]
        self.run(f"scp to {self.stage.host}", command)

    def receive(self, sources: Sequence[str], target: Path) -> None:
        remote = [f"{self.stage.host}:{source}" for source in sources]
        self.run(f"scp from {self.stage.host}", ["scp", "-q", "-F", str(self.config), *remote, str(target)])

    def curl(self, url: str, *options: str, token: str = "") -> str:
        """HTTP status of a request by curl; the token, if any, goes by a configuration on standard input."""
        given = f'header = "Authorization: Bearer {token}"\n'.encode()
        # an element may send data on to another host; curl does not tell that one the token
        command = ["curl", "--silent", "--show-error", "--location", "--max-time", "60", "--cacert", str(self.stage.cafile)]
        command += ["--write-out", "%{http_code}", *options, *(("--config", "-") if token else ()), url]
        return self.run(url, command, given if token else b"")

    def make_key(self) -> str:
        """A fresh SSH key pair; its public line."""
        for path in self.stage.workdir.glob(f"{self.key.name}*"):
            path.unlink()
        self.run("ssh-keygen", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", str(self.key)])
        return self.key.with_name(f"{self.key.name}.pub").read_text().strip()

    def sign_key(self, public: str, token: str) -> str:
        """Have the facility sign the key; returns the UNIX name it is for. Writes what `ssh -F ssh_config` needs."""
        body = json.dumps({"public_key": public}).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.stage.signer, body, headers)
        context = ssl.create_default_context()
        context.load_verify_locations(self.stage.cafile)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                reply = json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:300]
            raise FarmletError(self.stage.signer, f"HTTP {error.code}: {said}") from error
        self.key.with_name(f"{self.key.name}-cert.pub").write_text(reply["certificate"].strip() + "\n")
        known = self.stage.workdir / "known_hosts"
        known.write_text(f"@cert-authority {self.stage.names} {self.stage.authority.strip()}\n")
        user = str(reply["principal"])
        self.config.write_text(CONFIG.format(host=self.stage.host, user=user, key=self.key, known=known))
        return user
