#!/usr/bin/python3 -I
"""Runs tests within a job at a site, one after another, and writes `result.json`.

It goes to the site with the tests and runs there by whatever Python from 3.6 on is there: nothing but the standard library.
Beside it lie `spec.json` (see `job.pack`) and a folder for each test. Of a test's output the beginning and the end are kept.

`--call FILE TEXT` is its own child: calls the function `test` of a Python file. What that returns, text or (code, text), or the
exception it ends with, goes to the file TEXT; the code is the exit code.
"""

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

OK, WARNING, CRITICAL, UNKNOWN = range(4)  # exit codes of the monitoring plugins
TEXT = 2000  # characters of the one line that tells a result
BLOCK = 65536
REPORT = 16384  # bytes of `job_result.yaml`
GIVEN = ("_CONDOR_SCRATCH_DIR", "_CONDOR_MACHINE_AD", "_CONDOR_JOB_AD")  # by HTCondor, and handed on to tests
GRACE = 1.0  # seconds for output that is still on its way when the test has ended


class Output:
    """The first `head` and the last `tail` bytes of what is put in."""

    def __init__(self, head: int, tail: int) -> None:
        self.sizes = (head, tail)
        self.head, self.tail = b"", b""
        self.dropped = 0

    def put(self, data: bytes) -> None:
        room = self.sizes[0] - len(self.head)
        self.head += data[:room]
        kept = self.tail + data[room:] if room > 0 else self.tail + data
        self.tail = kept[-self.sizes[1] :]
        self.dropped += len(kept) - len(self.tail)

    def __str__(self) -> str:
        cut = f"\n… {self.dropped} bytes are left out …\n".encode() if self.dropped else b""
        return (self.head + cut + self.tail).decode(errors="replace")


def run(test: "dict[str, Any]", environment: "dict[str, str]", output: Output) -> "tuple[int, str]":
    """Code and text of one test, whatever it does."""
    folder = Path(test["name"]).resolve()
    command, said = [str(folder / test["file"])], folder / ".text"
    if test["kind"] == "function":
        command = [sys.executable, "-I", str(Path(__file__).resolve()), "--call", command[0], str(said)]
    try:
        (folder / test["file"]).chmod(0o700)  # whatever became of it on its way
        process = subprocess.Popen(
            command,
            cwd=str(folder),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return UNKNOWN, f"cannot be started: {error.strerror}"
    ended = follow(process, time.monotonic() + test["timeout"], output)
    if not ended:
        return CRITICAL, f"did not end within {test['timeout']} s"
    if said.exists():
        text = said.read_text(errors="replace")
    else:
        text = next((line for line in str(output).splitlines() if line.strip()), "it said nothing")
    if process.returncode not in range(4):
        return UNKNOWN, f"ended with {process.returncode}, which says nothing of a site: {text}"
    return process.returncode, text


def follow(process: "subprocess.Popen[bytes]", until: float, output: Output) -> bool:
    """Read what a process says until it ends; False when it had to be killed for its time."""
    number, ended = process.stdout.fileno(), False  # type: ignore[union-attr]
    while time.monotonic() < until:
        if not ended and process.poll() is not None:
            ended, until = True, min(until, time.monotonic() + GRACE)  # others may hold its output open for ever
        if select.select([number], [], [], 0.05)[0]:
            data = os.read(number, BLOCK)
            if not data:
                break
            output.put(data)
    if not ended:  # it may have closed its output, and go on
        try:
            process.wait(max(0.0, until - time.monotonic()))
            ended = True
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    return ended


def find_report(folder: Path) -> "dict[str, str]":
    """What a test of resource-availability-monitoring has left, as far as it is taken."""
    try:
        with (folder / "job_result.yaml").open("rb") as stream:
            return {"report": stream.read(REPORT).decode(errors="replace")}
    except OSError:
        return {}


def call(path: str, said: str) -> int:
    """The code of the function `test` in the file at `path`."""
    text = ""
    try:
        described = importlib.util.spec_from_file_location("sitetest", path)
        module = importlib.util.module_from_spec(described)  # type: ignore[arg-type]
        described.loader.exec_module(module)  # type: ignore[union-attr]
        found = module.test()
        code, text = found if isinstance(found, tuple) else (OK, found)
        text = str(text) if text is not None else "ok"
    except BaseException as error:  # sys.exit too
        traceback.print_exc()
        code, text = CRITICAL, str(error) or type(error).__name__
    Path(said).write_text(text)
    return code if isinstance(code, int) and code in range(4) else UNKNOWN


def main(words: "list[str]") -> int:
    if words[:1] == ["--call"]:
        return call(*words[1:])
    spec = json.loads(Path("spec.json").read_text())
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    environment.update((name, value) for name, value in os.environ.items() if name in GIVEN)
    environment.update(spec["environment"])
    if Path("spec.token").exists():
        environment["BEARER_TOKEN_FILE"] = str(Path("spec.token").resolve())
    results = []
    for test in spec["tests"]:
        at, start, output = time.time(), time.monotonic(), Output(spec["head"], spec["tail"])
        try:
            code, text = run(test, environment, output)
        except Exception as error:  # one test's trouble is not the others'
            code, text = UNKNOWN, repr(error)
        row = {"name": test["name"], "code": code, "text": text.strip()[:TEXT], "at": at}
        row.update(find_report(Path(test["name"])))
        results.append({**row, "seconds": time.monotonic() - start, "output": str(output), "dropped": output.dropped})
    Path("result.json").write_text(json.dumps({"host": os.uname().nodename, "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
