"""Where things are on a member's own machine (XDG Base Directories)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def root() -> Path:
    """The folder of all facilities: `$XDG_CONFIG_HOME/farmlet`, by default `~/.config/farmlet`."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "farmlet"


@dataclass(frozen=True)
class Place:
    """What one facility has here; `folder` is its own, and all of it goes at a logout."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def authorities(self) -> Path:
        """The certificate authority that was named by `--ca`."""
        return self.folder / "ca.pem"

    @property
    def token(self) -> Path:
        return self.folder / "token"

    @property
    def key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def public(self) -> Path:
        return self.folder / "id_ed25519.pub"

    @property
    def certificate(self) -> Path:
        return self.folder / "id_ed25519-cert.pub"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def made(self) -> tuple[Path, ...]:
        """What comes with a certificate."""
        return (self.key, self.public, self.certificate, self.known_hosts, self.ssh_config)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that a log-in makes here."""
        return (*self.made, self.token, self.authorities, self.state, self.lock)


def find() -> dict[str, Place]:
    """The facilities that somebody logged in to from here, by name."""
    return {path.parent.name: Place(path.parent) for path in sorted(root().glob("*/state.json"))}
