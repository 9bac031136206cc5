"""Orders drones at a site by SSH and gives every order its own token.

TARDIS' site adapters speak to a site through an executor: `run_command(command, stdin)`. Here is TARDIS' own for SSH,
with one thing more: before a `condor_submit` it gets a token for each drone of the order and puts it, with the drone's
programs, into a folder at the site. Tokens travel on the standard input only, never in arguments, environment or logs.
It is loaded through `__type__` (see `render.tardis`) and lives in TARDIS' virtual environment: no imports beyond that.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncssh import Error as SSHError
from tardis.exceptions.executorexceptions import CommandExecutionFailure, ExecutorFailure
from tardis.exceptions.tardisexceptions import TardisResourceStatusUpdateFailed
from tardis.utilities.executors.sshexecutor import SSHExecutor

from farmlet.parts.overlay.breaker import Breaker

logger = logging.getLogger("cobald.runtime.farmlet.executor")

UUID = re.compile(r"--uuid=([A-Za-z0-9-]+)")
SCOPES = ("ADVERTISE_STARTD", "ADVERTISE_MASTER")
PATIENCE = 30.0  # seconds the collector may take for a token
WAIT = 30.0  # seconds an order waits at most for the end of a pause; TARDIS makes the next one 2 s after one that fails

# At the site, in the folder of the drones: drops tokens that no order can need any more and the output of drones of
# the day before yesterday, then reads `uuid token` lines.
# `read` and `printf` are built into the shell: the token is in no argument list.
RECEIVE = """umask 077; mkdir -p {folder} && cd {folder} && find . -name '*.token' -mmin +{minutes} -delete &&
find . '(' -name '*.out' -o -name '*.err' ')' -mmin +2880 -delete &&
while read -r uuid token; do printf '%s\\n' "$token" > "$uuid.token" || exit 1; done"""
# what drones said that gave up, a line each; the newest of a day's
ASK = "cd {folder} 2>/dev/null && find . -name '*.err' -mmin -{minutes} -exec grep -H '^drone: ' {{}} + | tail -n 1000 || true"
REFUSAL = re.compile(r"^\./([A-Za-z0-9-]+)\.err:drone: (.*)$", re.MULTILINE)
INSTALL = "umask 077; mkdir -p {folder} && cd {folder} && cat > {name}.new && chmod 700 {name}.new && mv {name}.new {name}"


class TokenExecutor(SSHExecutor):  # type: ignore[misc,unused-ignore]
    """SSH to a site's submit host; `more` are those of `asyncssh.connect`.

    `folder`: where the drones' files are at the site, relative to the account's home. `programs`: the drone's, on
    this host. `pool`: the collector that issues tokens. `pending`: seconds an order may wait in the site's queue, the
    `lifetime` (seconds) of a token covers that wait and the drone's own life. `told`: where it tells its check that it orders
    none for a while, since drones give up.
    """

    def __init__(
        self, *, folder: str, programs: Sequence[str], pool: str, pending: int, lifetime: int, told: str, **more: Any
    ) -> None:
        super().__init__(**more)
        self.breaker = Breaker(Path(told))
        self.folder, self.programs, self.pool = folder, [Path(program) for program in programs], pool
        self.pending, self.lifetime = pending, lifetime
        self.installed: dict[Path, bytes] = {}
        self.broken = False

    async def run_command(self, command: str, stdin_input: str | None = None) -> Any:
        """Run `command` at the site, with tokens first if it orders drones.

        Raises what the adapter understands: CommandExecutionFailure when the command itself failed at the site,
        TardisResourceStatusUpdateFailed (try again at the next heartbeat) when the order could not be prepared or the
        site not be reached. Anything else would end COBalD, and with it the drones' care at all other sites.
        """
        try:
            if stdin_input is not None and command.startswith("condor_submit"):
                await self.wait()
                stdin_input = await self.prepare(stdin_input)
                command = f"cd {shlex.quote(self.folder)} && {command}"
            answer = await super().run_command(command, stdin_input)
        except CommandExecutionFailure as failure:
            if command.startswith(("condor_rm", "condor_suspend")):
                raise  # the adapter reads from it that the job is gone already
            raise self.fail(failure.stderr or str(failure.exit_code)) from None
        except (ExecutorFailure, SSHError, OSError) as error:
            raise self.fail(repr(error)) from None
        self.broken = False
        return answer

    @property
    def host(self) -> str:
        """The site's submit host."""
        return str(self._parameters.get("host"))

    def fail(self, reason: str) -> TardisResourceStatusUpdateFailed:
        """The error for the adapter; told in the log once until the site answers again."""
        if not self.broken:
            logger.warning("%s: %s", self.host, reason.strip())
        self.broken = True
        return TardisResourceStatusUpdateFailed(reason)

    async def wait(self) -> None:
        """Return once drones may be ordered. Raises TardisResourceStatusUpdateFailed when that is not soon."""
        if self.breaker.orders:
            minutes = int(max(time.time() - min(self.breaker.orders.values()), 0)) // 60 + 1
            answer = await super().run_command(ASK.format(folder=shlex.quote(self.folder), minutes=minutes))
            self.breaker.judge(dict(REFUSAL.findall(answer.stdout)), time.time())
        if left := self.breaker.left(time.time()):
            await asyncio.sleep(min(left, WAIT))
            if left > WAIT:
                raise TardisResourceStatusUpdateFailed("drones give up there")

    async def prepare(self, order: str) -> str:
        """Bring programs and tokens to the site; the order with the name of each drone's token file in it.

        `order` is a submit description with one `queue` per drone. The macro FarmletOrder is set before each of them,
        since HTCondor expands macros when it meets `queue`.
        """
        for path in self.programs:
            program = path.read_bytes()
            if program != self.installed.get(path):
                install = INSTALL.format(folder=shlex.quote(self.folder), name=shlex.quote(path.name))
                await super().run_command(install, program.decode())
                self.installed[path] = program
        uuids = UUID.findall(order)
        lines = [f"{uuid} {await fetch(self.pool, self.lifetime)}\n" for uuid in uuids]
        receive = RECEIVE.format(folder=shlex.quote(self.folder), minutes=self.pending // 60 + 1)
        await super().run_command(receive, "".join(lines))
        logger.info("%s: ordering %d drones: %s", self.host, len(uuids), " ".join(uuids))
        self.breaker.note(uuids, time.time())
        return name_orders(order)


def name_orders(order: str) -> str:
    """`order` with `FarmletOrder = UUID` in front of every line that names a drone's uuid."""
    lines = []
    for line in order.splitlines():
        if found := UUID.search(line):
            lines.append(f"FarmletOrder = {found[1]}")
        lines.append(line)
    return "\n".join(lines) + "\n"


async def fetch(pool: str, lifetime: int) -> str:
    """A token of this process' own identity from the collector `pool`, good for `lifetime` s and for advertising only.

    The collector signs; the pool's key stays with it. Raises ExecutorFailure.
    """
    limits = [word for scope in SCOPES for word in ("-authz", scope)]
    return await capture(["condor_token_fetch", "-pool", pool, "-type", "COLLECTOR", "-lifetime", str(lifetime), *limits])


async def capture(command: Sequence[str]) -> str:
    """The output of a local `command`. Raises ExecutorFailure when it fails, OSError when it cannot be started."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    text = stdout.decode().strip()
    if process.returncode != 0 or not text:
        raise ExecutorFailure(f"{command[0]} failed: {stderr.decode(errors='replace').strip()}", executor=None)
    return text
