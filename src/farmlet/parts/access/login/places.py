"""Where things are on a member's own machine (XDG Base Directories)."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The folder of all facilities: `$XDG_CONFIG_HOME/farmlet`, by default `~/.config/farmlet`."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "farmlet"


class Place:
    """What one facility has here; `folder` is its own, and all of it goes at a logout.

    `authorities`: the certificate authority that was named by `--ca`; `made`: what comes with a certificate; `files`: every
    file that a log-in makes here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.state, self.lock = folder / "state.json", folder / "lock"
        self.authorities, self.token = folder / "ca.pem", folder / "token"
        self.key, self.public = folder / "id_ed25519", folder / "id_ed25519.pub"
        self.certificate = folder / "id_ed25519-cert.pub"
        self.known_hosts, self.ssh_config = folder / "known_hosts", folder / "ssh_config"
        self.made = (self.key, self.public, self.certificate, self.known_hosts, self.ssh_config)
        self.files = (*self.made, self.token, self.authorities, self.state, self.lock)


def find() -> dict[str, Place]:
    """The facilities that somebody logged in to from here, by name."""
    return {path.parent.name: Place(path.parent) for path in sorted(root().glob("*/state.json"))}
