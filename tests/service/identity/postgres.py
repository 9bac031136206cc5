"""A PostgreSQL server of our own: in a temporary folder, on a unix socket, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")  # nothing here outlives a crash
ACCESS = "local all guarded scram-sha-256\nlocal all all trust\n"


@dataclass(frozen=True)
class Server:
    folder: Path

    def url(self, name: str, user: str = "farmlet") -> str:
        return f"postgresql://{user}@/{name}?host={self.folder}"

    def create(self, name: str, owner: str = "farmlet") -> str:
        """An empty database; its URL."""
        self.run(f"CREATE DATABASE {name} OWNER {owner}")
        return self.url(name, owner)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@contextmanager
def serve() -> Iterator[Server]:
    """A running server, as Debian's package has it but for its place and its haste; the role `farmlet` may do all."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=None)
    assert programs, "PostgreSQL is missing: make setup"
    folder = Path(tempfile.mkdtemp(prefix="farmlet-pg-"))
    # PostgreSQL does not run as root
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    shutil.chown(folder, user)
    data = folder / "data"
    words = [programs / "initdb", "-D", data, "-U", "farmlet", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run(words, user=user, cwd=folder, check=True, capture_output=True, timeout=60)
    (data / "pg_hba.conf").write_text(ACCESS)
    words = [programs / "postgres", "-D", data, "-k", folder, "-h", "", *(word for text in SPEED for word in ("-c", text))]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, user=user, cwd=folder, stdout=log, stderr=log) as process:
        try:
            _wait(programs / "pg_isready", folder, process)
            yield Server(folder)
        finally:
            process.send_signal(signal.SIGINT)  # "fast": open connections are closed, not waited for
            process.wait(20)
            shutil.rmtree(folder)


def _wait(probe: Path, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run([probe, "-q", "-h", folder]).returncode:
        assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.1)
