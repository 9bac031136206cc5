"""What a member's server is made with: who they are, which folders, how much of the node."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Any

from farmlet.facility.places import SOFTWARE
from farmlet.parts.notebooks.hub.foreign import read_plain
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.notebooks.roster import Member
from farmlet.parts.notebooks.sizes import Size
from farmlet.runtime.files import write

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
INIT = "/usr/bin/tini-static"  # Docker's own would be put below /sbin, which is in the folder /usr that is mounted
PROCESSES = 4096
OWN = "FARMLET_OWN"  # where the packages of a member's own image are; see start.py
TMP = "rw,nosuid,nodev,exec,mode=1777"


def arrange(server: Any, settings: Settings, member: Member, size: Size, image: Path, whole: bool = False) -> None:
    """Tell `server` how to run `member`'s from the root file system `image`; /usr of a `whole` one is not mounted."""
    groups = os.getgrouplist(member.name, member.gid)
    token = Path(settings.tokens, member.name)
    token.mkdir(mode=0o755, exist_ok=True)  # from now on there is a token in it
    inside = f"{settings.sessions}/{member.name}"
    scratch = f"{settings.scratch}/{member.name}"
    folders = [member.home, *([scratch] if Path(scratch).is_dir() else [])]
    passwd, group = write_names(settings, member, groups, image)
    server.volumes = {folder: folder for folder in (*folders, settings.meet)}
    server.read_only_volumes = {
        str(token): inside,
        str(passwd): "/etc/passwd",
        str(group): "/etc/group",
        BUNDLE: BUNDLE,
        settings.inside: settings.inside,
        settings.editor: settings.editor,
        settings.condor: "/etc/condor/config.d/90-farmlet.config",
        **({tokens: tokens} if Path(tokens := f"{settings.readers}/{member.name}").is_dir() else {}),
        **({} if whole else {str(image / "usr"): "/usr"}),
        SOFTWARE: {"bind": SOFTWARE, "mode": settings.mounted},
        INIT: "/init",
    }
    server.notebook_dir = member.home
    server.cpu_limit, server.mem_limit = float(size.cores), size.memory
    server.environment = describe(settings, member, inside)
    server.owner, server.groups, server.root = member, groups, image
    server.in_memory = {"/tmp": TMP, "/run/lock": TMP, "/var/tmp": TMP}


def add_own(server: Any, folder: str) -> None:
    """Tell `server` where the packages of the member's own image are: in a folder that it has anyway. /opt/own leads there."""
    server.environment[OWN] = folder
    server.in_memory["/opt/own"] = "rw,nosuid,nodev,mode=1777,size=64k"


def describe(settings: Settings, member: Member, inside: str) -> dict[str, str]:
    """The environment of the server. `inside`: the folder of the token there."""
    return {
        "HOME": member.home,
        "USER": member.name,
        "LOGNAME": member.name,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "BEARER_TOKEN_FILE": f"{inside}/token",
        "SSL_CERT_FILE": BUNDLE,
        "REQUESTS_CA_BUNDLE": BUNDLE,
        "X509_CERT_DIR": settings.certificates,
        # what Jupyter has of ours
        "JUPYTER_CONFIG_PATH": f"{settings.inside}/config",
        "JUPYTER_PATH": f"{settings.inside}/jupyter",
        # off the home, which may be full
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",
        "MPLCONFIGDIR": "/tmp/matplotlib",
    }


def write_names(settings: Settings, member: Member, groups: list[int], image: Path) -> tuple[Path, Path]:
    """The image's users and groups and this one's, so that names resolve."""
    home = pwd.getpwuid(member.uid)
    line = f"{member.name}:x:{member.uid}:{member.gid}:{home.pw_gecos}:{member.home}:/bin/bash\n"
    found = [grp.getgrgid(gid) for gid in groups]
    lines = "".join(f"{one.gr_name}:x:{one.gr_gid}:{member.name}\n" for one in found)
    folder = Path(settings.state, "names", member.name)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in (("passwd", line), ("group", lines)):
        write(folder / name, (read_plain(image, "etc", name) + text).encode(), 0o644)
    return folder / "passwd", folder / "group"
