"""A server under test, pinned to core 0, and wrk, pinned to core 1."""

from __future__ import annotations

import base64
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

SCRIPT = Path(__file__).with_name("token.lua")
WORKER = ("--workers", "1", "--worker-class", "gthread", "--threads", "16", "--no-control-socket", "--worker-tmp-dir", "/dev/shm")


@dataclass(frozen=True)
class Rate:
    """Tokens per second of the clock, and per second of processor time the server had: less than all where others run too."""

    clock: float
    own: float


@dataclass
class Server:
    """gunicorn with one process of 16 threads, as the units run it. `python` is its environment's, `form` what a client sends."""

    name: str
    folder: Path
    python: str
    application: str
    path: str
    basic: str
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=lambda: find_port())
    start: float = 0.0  # seconds from the start to the first answer
    refresh: list[str] = field(default_factory=list)  # tokens to go on with

    def __enter__(self) -> Self:
        bind = ("--bind", f"127.0.0.1:{self.port}", "--log-level", "warning")
        command = ["taskset", "-c", "0", self.python, "-m", "gunicorn", *WORKER, *bind, self.application]
        self._log = (self.folder / f"{self.name}.log").open("ab")
        began = time.monotonic()
        self._process = subprocess.Popen(command, env=self._environment, cwd=self.folder, stdout=self._log, stderr=self._log)
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() - began > 60:
                sys.exit(f"{self.name} does not start: {(self.folder / f'{self.name}.log').read_text()[-2000:]}")
            time.sleep(0.01)
        self.start = time.monotonic() - began
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def run(self, *words: str) -> str:
        """Run the environment's Python with these words; its output."""
        done = subprocess.run([self.python, *words], env=self._environment, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(words)[:200]}: {done.stderr[-2000:]}")
        return done.stdout

    def memory(self) -> float:
        """Proportional set size of all its processes, MiB."""
        pids = [self._process.pid, *map(int, _children(self._process.pid))]
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
        return sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) / 1024

    def _used(self) -> float:
        """Seconds of processor time its worker has had."""
        words = Path(f"/proc/{_children(self._process.pid)[0]}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def credentials(self, seconds: int) -> Rate:
        """Access tokens by client credentials, 8 connections."""
        return self._load("grant_type=client_credentials", seconds, ("-t1", "-c8"))

    def refreshes(self, seconds: int) -> Rate:
        """Access tokens by refresh, one chain for each of the tokens in `refresh`."""
        count = len(self.refresh)
        file = self.folder / f"{self.name}.refresh"
        file.write_text("\n".join(self.refresh) + "\n")
        return self._load("grant_type=refresh_token", seconds, (f"-t{count}", f"-c{count}"), {"REFRESH": str(file)})

    def _load(self, form: str, seconds: int, shape: Sequence[str], more: Mapping[str, str] | None = None) -> Rate:
        environment = {**os.environ, "BASIC": base64.b64encode(self.basic.encode()).decode(), "FORM": form, **(more or {})}
        before, used = resource.getrusage(resource.RUSAGE_CHILDREN), self._used()
        command = ["taskset", "-c", "1", "wrk", *shape, f"-d{seconds}s", "-s", str(SCRIPT), self.url + self.path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"wrk: {done.stderr or done.stdout}")
        result = json.loads(done.stdout.partition("\n@")[2])
        if result["failed"]:
            sys.exit(f"{self.name}: {result['failed']} of {result['requests']} requests failed")
        busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / result["microseconds"] * 1e6
        if busy > 0.7:  # then the figure would be the client's
            sys.exit(f"wrk was busy {busy:.0%} of the time")
        own = (self._used() - used) / result["microseconds"] * 1e6
        if more:
            self.refresh = result["last"].split()
        rate = result["requests"] / result["microseconds"] * 1e6
        times = f"p50 {result['p50']} us, p99 {result['p99']} us"
        print(f"  {self.name} {form}: {rate:.0f}/s, {times}; it had {own:.0%} of its core, wrk {busy:.0%}", flush=True)
        return Rate(rate, rate / own)


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require(*programs: str) -> None:
    """Ends the benchmark if a program is missing."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}\n  hint: `make bench` installs what benchmarks need, or apt-get install wrk")


def _answers(port: int) -> bool:
    """Whether an HTTP answer comes, not only a connection: the socket listens before the application is there."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
        probe.settimeout(30)
        probe.sendall(b"GET /.well-known/openid-configuration HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            return probe.recv(12).startswith(b"HTTP/")
        except OSError:
            return False


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
