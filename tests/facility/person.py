"""A member at a machine of their own, for tests: registered by the admin, with a certificate, and plain `ssh`."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sandbox import Sandbox

from farmlet.demo.browser import Browser
from farmlet.parts.identity.deploy import PROGRAM, USER
from farmlet.runtime.oauth import DeviceFlow, Tokens, refresh

PASSWORD = "a test's long passphrase"

CONFIG = """\
Host *
  User {name}
  IdentityFile "{folder}/key"
  CertificateFile "{folder}/key-cert.pub"
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile "{folder}/known_hosts"
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 30
  LogLevel ERROR
"""


@dataclass
class Person:
    """`sleep`: how a program waits before it asks whether it was allowed; it was, so the first question will do."""

    sandbox: Sandbox
    name: str
    folder: Path
    sleep: Callable[[float], None] = field(default=lambda seconds: None, kw_only=True)

    @classmethod
    def join(cls, sandbox: Sandbox, name: str, *groups: str) -> Person:
        """A new member of `groups`, with a certificate."""
        person = cls(sandbox, name, sandbox.folder / "people" / name)
        person.folder.mkdir(parents=True)
        words = " ".join(f"--group {group}" for group in groups)
        # as `farmlet user add` does it, which takes twice as long to begin
        made = json.loads(sandbox.exec("service", f"{PROGRAM} member add {name} {words}"))
        person.browser.join(made["join"], name, PASSWORD)
        person.take_certificate()
        return person

    @cached_property
    def browser(self) -> Browser:
        return Browser(Path(self.ca))

    @property
    def ca(self) -> str:
        return self.sandbox.ca

    @property
    def issuer(self) -> str:
        return f"https://service.{self.sandbox.domain}"

    def authorise(self, scope: str, audience: str = "", client: str = "farmlet") -> Tokens:
        """By device flow, allowed in the person's browser."""
        flow = DeviceFlow(self.issuer, client, self.ca)
        started = flow.start(scope, audience)
        self.browser.allow(started.verification_uri_complete, self.name, PASSWORD)
        return flow.wait(started, self.sleep)

    def authorise_elsewhere(self, scope: str, audience: str = "https://elsewhere.example.org") -> Tokens:
        """For somebody the facility does not know, or does not let `farmlet` ask for, by a program that may."""
        client = f"{self.name}-elsewhere"
        options = f"client ensure {client} --public --grant device --audience {audience}"
        self.sandbox.exec("service", f"runuser -u {USER} -- {PROGRAM} {options}")
        return self.authorise(scope, audience, client)

    def refresh(self, tokens: Tokens, client: str = "farmlet") -> Tokens:
        return refresh(self.issuer, client, tokens.refresh_token, self.ca)

    def take_certificate(self) -> None:
        token = self.authorise("openid", "ssh").access_token
        key = self.folder / "key"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        context = ssl.create_default_context(cafile=self.ca)
        body = json.dumps({"public_key": key.with_suffix(".pub").read_text()}).encode()
        request = urllib.request.Request(f"{self.issuer}/ssh/sign", body, {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            (self.folder / "key-cert.pub").write_text(json.load(answer)["certificate"] + "\n")
        with urllib.request.urlopen(f"{self.issuer}/ssh/known_hosts", context=context, timeout=60) as answer:
            (self.folder / "known_hosts").write_bytes(answer.read())
        (self.folder / "ssh_config").write_text(CONFIG.format(name=self.name, folder=self.folder))

    def command(self, script: str, node: str = "head") -> list[str]:
        return ["ssh", "-F", str(self.folder / "ssh_config"), f"{node}.{self.sandbox.domain}", script]

    def try_ssh(self, script: str, node: str = "head") -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(script, node), capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    def ssh(self, script: str, node: str = "head") -> str:
        done = self.try_ssh(script, node)
        assert done.returncode == 0, (script, done.stdout, done.stderr)
        return done.stdout.strip()

    def start(self, script: str, node: str = "head") -> subprocess.Popen[str]:
        """A session that stays."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(self.command(script, node), **pipes)  # type: ignore[call-overload,no-any-return]
