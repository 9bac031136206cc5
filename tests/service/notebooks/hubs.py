"""A real JupyterHub with our configuration, on this machine and without Docker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.notebooks.roster import Member

GIB = 1 << 30
BASE = "image-aaaaaaaaaaaa"  # what members' own images begin with


@dataclass(frozen=True)
class Hub:
    """A Hub that runs. `folder`: with all its files; `url`: where browsers find it; `port`: its own on loopback."""

    folder: Path
    url: str
    port: int

    def write_roster(self, **members: dict[str, Any]) -> None:
        """Who may have a notebook: name → what they have beyond the usual."""
        home, who = str(self.folder / "home"), (os.getuid(), os.getgid())
        rows = [asdict(Member(f"sub-{name}", name, *who, home, **more)) for name, more in members.items()]
        (self.folder / "roster.new").write_text(json.dumps(rows))
        (self.folder / "roster.new").rename(self.folder / "roster.json")

    def publish(self, offered: bool = True) -> None:
        place = self.folder / "image"
        for one in (place, self.folder / ".images" / BASE):
            (one / "etc").mkdir(parents=True, exist_ok=True)
            for name in ("passwd", "group", "farmlet-image"):
                (one / "etc" / name).touch()
        images.save(
            [Row("image", "Python for physics", offered=offered, digest="a" * 64, path=str(place), tested=time.time())],
            self.folder,
        )


def find_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def answers(url: str) -> bool:
    try:
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    except OSError:
        return False


@contextmanager
def start(folder: Path, issuer: str = "http://127.0.0.1:9", origin: str = "", **environment: str) -> Iterator[Hub]:
    """A Hub in a `folder` of its own. `origin`: where each member has an origin, that of the Hub."""
    port = find_port()
    for name in ("client", "cookie", "proxy"):
        (folder / name).write_text("ab" * 32)
        (folder / name).chmod(0o600)
    names = "heard state tokens sessions credentials image scratch usage closed condor meet readers unpacked"
    paths = {name: str(folder / name) for name in names.split()}
    for name in ("state", "tokens", "credentials", "home"):
        (folder / name).mkdir(exist_ok=True)
    settings = Settings(
        mounted="ro",
        title="Example facility",
        origin=origin or f"http://127.0.0.1:{port}",
        issuer=issuer,
        client="farmlet-notebooks",
        roster=str(folder / "roster.json"),
        inside="/opt/farmlet/notebook",
        editor="/opt/farmlet/editor",
        spawner="docker",
        network="farmlet",
        certificates="/etc/ssl/certs",
        cores=1,
        memory=GIB,
        servers=2,
        idle=0,
        silent=24 * 3600,
        sharing=bool(origin),
        proxy=port,
        api=port,
        hub=port,
        **paths,
    )
    (folder / "settings.json").write_text(json.dumps(asdict(settings)))
    more = {"SETTINGS": str(folder / "settings.json"), "CREDENTIALS_DIRECTORY": str(folder)}
    nowhere = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
    command = [sys.executable, "-m", "jupyterhub", "--config", str(Path(__file__).with_name("hub.config.py"))]
    with (folder / "log").open("w") as log:
        env = os.environ | more | nowhere | environment
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=env, start_new_session=True)
    hub, deadline = Hub(folder, settings.origin, port), time.monotonic() + 90
    try:
        while not answers(f"http://127.0.0.1:{port}/hub/health"):
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.2)
        yield hub
    finally:
        process.terminate()
        process.wait(20)
        with suppress(ProcessLookupError):  # the servers, which live on without a Hub
            os.killpg(process.pid, signal.SIGKILL)
