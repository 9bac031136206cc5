"""What ssh reads: a known_hosts file and a configuration of the facility's own, and the line that includes them."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.access.login.about import About
from farmlet.parts.access.login.places import Place, root
from farmlet.runtime.files import write

CONFIG = """\
# Written by `farmlet login`, and again at each renewal; changes are lost.
{short}Match host *.{domain} exec "{command}"
Match host *.{domain}
  User {user}
  IdentityFile "{folder}/id_ed25519"
  CertificateFile "{folder}/id_ed25519-cert.pub"
  UserKnownHostsFile ~/.ssh/known_hosts "{folder}/known_hosts"
"""
SHORT = "Host {short}\n  HostName {node}\n"
USED = re.compile(r"\s*host\s*[=\s]\s*(.*)", re.IGNORECASE)


def program() -> str:
    """How to start this command from anywhere, an editor's menu too: a shell command.

    `-P`: the folder in which somebody runs ssh must not lend it modules.
    """
    script = Path(sys.executable).with_name("farmlet")
    return shlex.join([str(script)] if os.access(script, os.X_OK) else [sys.executable, "-P", "-m", "farmlet.cli.main"])


def escape(text: str) -> str:
    """`text` in double quotes where ssh expands `%` (ssh_config(5), TOKENS). Raises FarmletError for what cannot stand there."""
    if re.search(r'["\\\n\r]|\$\{', text):
        raise FarmletError(text, "has characters that ssh_config cannot hold", "choose another folder by XDG_CONFIG_HOME")
    return text.replace("%", "%%")


def render(about: About, user: str, place: Place, taken: frozenset[str] = frozenset()) -> str:
    """The configuration. `taken`: short names that mean something else on this machine."""
    shorts = [(node.partition(".")[0], node) for node in about.nodes if node != about.domain]
    lines = [SHORT.format(short=short, node=node) for short, node in shorts if short not in taken]
    command = escape(f"{program()} login --fresh {place.name}")
    return CONFIG.format(short="".join(lines), domain=about.domain, command=command, user=user, folder=escape(str(place.folder)))


def write_snippet(about: About, user: str, place: Place) -> None:
    """Write both files; a file that says the same already is left alone."""
    others = [path for path in root().glob("*/ssh_config") if path != place.ssh_config]
    taken = find_hosts([*others, user_config()])
    texts = {place.known_hosts: about.authority.strip() + "\n", place.ssh_config: render(about, user, place, taken)}
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            write(path, text.encode(), 0o600)


def find_hosts(paths: list[Path]) -> frozenset[str]:
    """The names that `Host` lines of these files give something to."""
    lines = [line for path in paths if path.exists() for line in path.read_text(errors="replace").splitlines()]
    return frozenset(name.strip('"') for line in lines if (found := USED.match(line)) for name in found[1].split())


def user_config() -> Path:
    return Path.home() / ".ssh" / "config"


def include() -> str:
    """The one line for ~/.ssh/config; it holds for all facilities, now and later."""
    folder, home = str(root()), str(Path.home())
    if folder.startswith(f"{home}/"):
        folder = "~" + folder.removeprefix(home)
    return f'Include "{folder}/*/ssh_config"' if " " in folder else f"Include {folder}/*/ssh_config"


def is_included() -> bool:
    path = user_config()
    return path.exists() and include() in path.read_text(errors="replace").splitlines()


def write_include() -> None:
    """Put the line at the top, where it stands in no `Host` block. The rest stays byte for byte. Raises FarmletError."""
    path = user_config().resolve()  # a configuration kept elsewhere stays there
    mark = root() / "included"
    try:
        before = path.read_bytes() if path.exists() else None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(mark, b"created\n" if before is None else b"added\n", 0o600)
        mode = 0o600 if before is None else path.stat().st_mode & 0o7777
        write(path, f"{include()}\n".encode() + (before or b""), mode)
    except OSError as error:
        raise FarmletError(str(path), f"cannot be written: {error.strerror}", f"add at its top: {include()}") from error


def remove_include() -> None:
    """Take away the line that `write_include` put there, and the file if it made it and nothing else is in it."""
    mark, path = root() / "included", user_config().resolve()
    if not mark.exists():
        return
    created = mark.read_text().strip() == "created"
    if path.exists():
        line, data = f"{include()}\n".encode(), path.read_bytes()
        rest = data.removeprefix(line) if data.startswith(line) else data.replace(b"\n" + line, b"\n", 1)
        if created and not rest:
            path.unlink()
        elif rest != data:
            write(path, rest, path.stat().st_mode & 0o7777)
    mark.unlink()
