"""A site's own HTCondor queue, reached by SSH to its submit host as the account that drones have.

Everything goes as one shell script on the far side, so that one connection does it; scripts may be repeated. A job carries our
name for it (attribute FarmletRun), by which it is found again however either side ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import shlex
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from farmlet.parts.sitetests.result import clean

PATIENCE = 30.0  # seconds one exchange with a site may take
LARGEST = 16 * 1024 * 1024  # bytes a site may say in one
RESULT = 8 * 1024 * 1024  # bytes of a job's result
HELD = 5  # HTCondor manual, job ClassAd attribute JobStatus
RUNNING = 2
MINUTES = 2880  # after which folders at the site go that nobody has taken away

# The lock: who repeats this waits for one that a killed process of ours has left running. HTCondor writes `log` when it takes the
# job; what has one was submitted, and ended perhaps.
SUBMIT = """umask 077; mkdir -p {folder} && cd {folder} || exit 1
exec 9> .lock && flock -w 20 9 || exit 1
here=$(condor_q -constraint 'FarmletRun == "{name}"' -af ClusterId) || exit 1
if [ -n "$here" ] || [ -e {name}/log ]; then exit 0; fi
find . -mindepth 1 -maxdepth 1 -type d -mmin +{minutes} -exec rm -rf {{}} +
rm -rf {name} && mkdir {name} && cd {name} && tar -xf - && condor_submit -terse job.sub 9>&- > /dev/null"""

# The queue first: a job leaves it only when its result is there.
LOOK = """umask 077; mkdir -p {folder} && cd {folder} || exit 1
{remove}
condor_q -af 'ifThenElse(FarmletRun =?= undefined, "-", FarmletRun)' JobStatus HoldReason > .queue || exit 1
sed 's/^/queue /' .queue
# only while a job waits, and no more than one, for a pool may be large
if grep -q '^[^-][^ ]* 1 ' .queue && found=$(condor_status -limit 1 -af Machine 2> /dev/null)
then echo "pool ${{found:+some}}"; fi
for name in {names}; do
  if [ -s $name/result.json ]; then echo "result $name $(head -c {most} $name/result.json | base64 -w 0)"
  elif [ -s $name/err ]; then echo "error $name $(tail -c 300 $name/err | tr '\\n' ' ')"; fi
done"""
REMOVE = """condor_rm -constraint 'FarmletRun == "{name}"' > /dev/null 2>&1; rm -rf {name}"""


class Unreachable(Exception):
    """The site's queue cannot be used; the text says why."""


@dataclass(frozen=True)
class Place:
    """A site's submit host, and `folder` there, from the account's home."""

    name: str
    host: str
    user: str
    folder: str


@dataclass(frozen=True)
class View:
    """What a look at a queue found of our jobs: `states` (code, reason it is held) of those in the queue, `results` and `errors`
    of those that are not, by name; `drones`: how many other jobs of the account run. `empty`: a
    job waits, and there is no machine in the site's pool."""

    states: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    results: Mapping[str, bytes] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    drones: int = 0
    empty: bool = False


class Queue:
    """`login`: the words of the SSH client up to the host; see `ssh`."""

    def __init__(self, place: Place, login: Sequence[str]) -> None:
        self._login, self._folder = login, shlex.quote(place.folder)

    async def submit(self, name: str, packed: bytes) -> None:
        """Bring a job to the queue, unless it is or was there. Raises Unreachable."""
        await self._run(SUBMIT.format(folder=self._folder, name=name, minutes=MINUTES), packed)

    async def look(self, names: Collection[str], gone: Collection[str]) -> View:
        """What became of these jobs; those that are `gone` for us are taken away with all they left. Raises Unreachable."""
        remove = "\n".join(REMOVE.format(name=name) for name in gone) or ":"
        script = LOOK.format(folder=self._folder, names=" ".join(names), remove=remove, most=RESULT)
        return read(await self._run(script))

    async def _run(self, script: str, given: bytes = b"") -> str:
        process = await asyncio.create_subprocess_exec(
            *self._login, script, stdin=PIPE if given else DEVNULL, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        try:
            async with asyncio.timeout(PATIENCE):
                said, complaint = await _converse(process, given)
        except TimeoutError as error:
            raise Unreachable(f"the submit host does not answer within {PATIENCE:g} s") from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.communicate()  # what it had said already: asyncio waits for that before it takes its end
        if process.returncode:
            last = (complaint.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise Unreachable(f"the submit host: {clean(last, 300)}")
        return said.decode(errors="replace")


async def _converse(process: Process, given: bytes) -> tuple[bytes, bytes]:
    """What a process says on standard output, and how it complains. Raises Unreachable when it says too much."""
    assert process.stdout and process.stderr

    async def read(stream: asyncio.StreamReader) -> bytes:
        data = bytearray()
        while block := await stream.read(65536):
            data += block
            if len(data) > LARGEST:
                raise Unreachable(f"the submit host says more than {LARGEST} bytes")
        return bytes(data)

    async def write() -> None:
        if process.stdin:
            with suppress(BrokenPipeError, ConnectionResetError):  # it may want none of it: how it ends says why
                process.stdin.write(given)
                await process.stdin.drain()
                process.stdin.close()

    try:
        async with asyncio.TaskGroup() as group:
            reading, complaining = group.create_task(read(process.stdout)), group.create_task(read(process.stderr))
            group.create_task(write())
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    await process.wait()
    return reading.result(), complaining.result()


def read(said: str) -> View:
    """What the script LOOK prints; lines of other kinds, which a log-in may greet with, are left out."""
    states, results, errors, drones = dict[str, tuple[int, str]](), dict[str, bytes](), dict[str, str](), 0
    empty = False
    for line in said.splitlines():
        kind, _, rest = line.partition(" ")
        name, _, more = rest.partition(" ")
        if kind == "queue":
            code, _, reason = more.partition(" ")
            if name == "-":
                drones += code == str(RUNNING)
            elif code.isdecimal() and len(code) < 3:
                states[name] = (int(code), clean(reason, 300))
        elif kind == "pool":
            empty = not rest
        elif kind == "result":
            try:
                results[name] = base64.b64decode(more, validate=True)
            except binascii.Error:
                results[name] = b""
        elif kind == "error":
            errors[name] = clean(more, 300)
    return View(states, results, errors, drones, empty)


def ssh(place: Place, key: str, known: str, sockets: str) -> list[str]:
    """The words of OpenSSH's client that lead to a site; `sockets`: a folder for connections that are kept for a minute."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known,
        "StrictHostKeyChecking": "yes",
        "ServerAliveInterval": "10",
        "ControlMaster": "auto",
        "ControlPath": f"{sockets}/%C",
        "ControlPersist": "60",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *words, "-i", key, f"{place.user}@{place.host}"]
