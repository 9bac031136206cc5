"""The command `farmlet-identity`, kept warm: each run is a fork of a process that has everything loaded.

Starting Python and Django anew takes a second or two, and the tests run the command hundreds of times. What a run sees
is the same: its own process, its own connection to the database, the configuration as it stands in the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any


class Console:
    """Runs for one configuration file; the process behind it is started again when the file has changed."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._process: subprocess.Popen[str] | None = None

    def run(self, **task: Any) -> subprocess.CompletedProcess[str]:
        """`arguments` of the command, or `code` to execute beside the service's models. Runs wait for each other."""
        with self._lock:
            process = self._ensure()
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return subprocess.CompletedProcess(task.get("arguments", []), answer["code"], answer["out"], answer["err"])

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin and self._process.stdout
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(20)
            self._process = None

    def _ensure(self) -> subprocess.Popen[str]:
        found = self.config.stat()
        stamp = (found.st_mtime_ns, found.st_size)
        if self._process is None or stamp != self._stamp:
            self.close()
            command = [sys.executable, __file__, str(self.config)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._stamp = stamp
        return self._process


def serve(config: Path) -> None:
    """Answer each line of the standard input with the result of a fork."""
    from farmlet.parts.identity.service.admin import command
    from farmlet.parts.identity.service.django.configuration import load_configuration
    from farmlet.parts.identity.service.django.project import provider, start

    configuration = load_configuration(config)
    start(configuration, command.ensure_secret(configuration.secret_key_file).decode())

    command.start = lambda *_: provider()  # it is the same configuration, and Django takes only one
    for line in sys.stdin:
        task = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                _do(task, config, out.fileno(), err.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = [_read(stream) for stream in (out, err)]
        print(json.dumps({"code": code, "out": texts[0], "err": texts[1]}), flush=True)


def _do(task: dict[str, Any], config: Path, out: int, err: int) -> None:
    """One run, in the fork."""
    from farmlet.parts.identity.service.admin import command

    os.dup2(out, 1)
    os.dup2(err, 2)
    code = 1
    try:
        if "code" in task:
            exec(task["code"], {"__name__": "test"})
            code = 0
        else:
            code = command.main(["--config", str(config), *task["arguments"]])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _read(stream: Any) -> str:
    stream.seek(0)
    return str(stream.read().decode())


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
