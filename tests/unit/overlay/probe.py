"""Run by test_environment inside TARDIS' environment; prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any


class Pool:
    """A pool as far as a controller sees it, with a factory somewhere below."""

    interval: float

    def __init__(self, **attributes: Any) -> None:
        self.demand = 0.0
        self.__dict__.update(attributes)


def follow(folder: Path) -> dict[str, Any]:
    """The controller over a queue that answers, fails and answers again; `condor_q` prints the file `queue`."""
    import trio

    from farmlet.parts.overlay.controller import DemandController

    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("cobald.runtime.farmlet.demand").addHandler(handler)
    factory = Pool(factory=None, interval=30)
    target = Pool(children=[Pool(target=Pool(children=[factory]))])
    controller = DemandController(target, ["head"], "service:9618", cores=4, memory=4000, maximum=9, hold=0, pace=2)
    seen = []

    async def ask(queue: str | None) -> None:
        place = folder / "queue"
        place.unlink(missing_ok=True)
        if queue is not None:
            place.write_text(queue)
        await controller.adjust()
        seen.append((target.demand, controller.pause(0)))

    async def story() -> None:
        await ask("5\t1\t1\t100\tundefined\tundefined\n" * 3)
        for _ in range(8):
            await ask(None)
        await ask("nonsense")
        await ask("")

    trio.run(story)
    return {"seen": seen, "messages": messages, "interval": factory.interval}


async def order(settings: Path, folder: Path) -> dict[str, Any]:
    """The executor against a real SSH server that runs commands in the folder `site` with a shell."""
    import asyncssh
    from tardis.exceptions.tardisexceptions import TardisResourceStatusUpdateFailed

    from farmlet.parts.overlay.executor import TokenExecutor

    site = folder / "site"
    site.mkdir()
    commands: list[str] = []

    class Server(asyncssh.SSHServer):  # type: ignore[misc,unused-ignore]
        """TARDIS counts how many sessions a connection may have, so there is an end to them as in OpenSSH."""

        sessions = 0

        def session_requested(self) -> Any:
            if self.sessions >= 4:
                return False
            self.sessions += 1
            return self.serve

        async def serve(self, stdin: Any, stdout: Any, _: Any) -> None:
            command = stdout.channel.get_command()
            if command is None:
                await stdin.read()
                self.sessions -= 1
                return
            commands.append(command)
            pipe = asyncio.subprocess.PIPE
            shell = await asyncio.create_subprocess_shell(command, cwd=site, stdin=pipe, stdout=pipe)
            feed = asyncio.create_task(self.feed(stdin, shell.stdin))
            assert shell.stdout is not None
            stdout.write((await shell.stdout.read()).decode())
            status = await shell.wait()
            feed.cancel()
            self.sessions -= 1
            stdout.channel.exit(status)

        async def feed(self, source: Any, target: Any) -> None:
            target.write((await source.read()).encode())
            target.close()

    for name in ("host", "user"):
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(folder / name))
    asyncssh.read_private_key(str(folder / "user")).write_public_key(str(folder / "authorized"))
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[str(folder / "host")],
        authorized_client_keys=str(folder / "authorized"),
        server_factory=Server,
    )
    host = asyncssh.read_private_key(str(folder / "host")).export_public_key().decode()
    (folder / "known").write_text(f"[127.0.0.1]:{server.get_port()} {host}")

    parameters = json.loads(settings.read_text().split("\n", 1)[1])["tier1"]["executor"]
    parameters |= {"host": "127.0.0.1", "port": server.get_port(), "client_keys": [str(folder / "user")]}
    parameters |= {"known_hosts": str(folder / "known"), "program": str(folder / "program")}
    del parameters["__type__"]
    executor = TokenExecutor(**parameters)
    description = "arguments = --uuid=tier1-aa x\nqueue 1\narguments = --uuid=tier1-bb x\nqueue 1"
    answer = await executor.run_command("condor_submit -verbose", description)
    (folder / "refuse").touch()
    refusals = []
    for command, stdin in [("condor_submit", description), ("exit 3", None)]:
        try:
            await executor.run_command(command, stdin)
        except TardisResourceStatusUpdateFailed as error:
            refusals.append(str(error))
    server.close()
    return {"answer": answer.stdout, "commands": commands, "refusals": refusals}


def main() -> None:
    folder = Path(sys.argv[1])
    result = {"controller": follow(folder), "executor": asyncio.run(order(folder / "tardis.yml", folder))}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
