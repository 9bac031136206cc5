"""Run by test_environment inside TARDIS' environment; prints what it saw as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import os
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

    from farmlet.parts.overlay import demand, untaken
    from farmlet.parts.overlay.controller import DemandController

    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("cobald.runtime.farmlet.demand").addHandler(handler)
    factory = Pool(factory=None, interval=30)
    target = Pool(children=[Pool(target=Pool(children=[factory]))])
    shape: dict[str, Any] = {"cores": 4, "memory": 4000, "sites": {"tier1": 9}, "idle_timeout": 0, "pace": 2}
    controller = DemandController(target, ["head"], "service:9618", **shape, told=str(folder / "told"))
    watch = controller.watches[0]
    job = {"Owner": "ada", "JobUniverse": 5, "JobStatus": 1, "RequestCpus": 1, "RequestMemory": 100}
    seen = []

    async def ask(queue: str | None) -> None:
        place = folder / "queue"
        place.unlink(missing_ok=True)
        if queue is not None:
            place.write_text(queue)
        await controller.ask(watch)
        controller.settle()
        seen.append((target.demand, controller.pause(watch, 0)))

    async def story() -> None:
        await ask(json.dumps([job] * 3 + [job | {"RequestCpus": -9}]))
        for _ in range(8):
            await ask(None)
        await ask("nonsense")
        await ask("")
        await ask(json.dumps([job | {"WantLocal": "a\tb"}, job]))
        untaken.PATIENCE = 0.0
        controller.free = {"slot1@drone": demand.Shape(4, 4000)}
        passed_over = json.dumps([job | {"WantLocal": "a\tb"}, job | {"ClusterId": 12, "ProcId": 0}, job])
        for queue in (passed_over, None, passed_over):
            await ask(queue)

    trio.run(story)
    logging.getLogger("cobald.runtime.farmlet.demand").removeHandler(handler)
    told = json.loads((folder / "told").read_text())
    return {"seen": seen, "messages": messages, "interval": factory.interval, "told": told}


def close(folder: Path) -> dict[str, Any]:
    """The controller over COBalD's own pools while gates are closed and opened; the demands of the two sites after each turn."""
    import trio
    from cobald.composite.factory import FactoryPool
    from cobald.composite.weighted import WeightedComposite
    from cobald.decorator.standardiser import Standardiser

    from farmlet.parts import gate
    from farmlet.parts.overlay.controller import DemandController

    gates = folder / "gates"
    gates.mkdir()
    sites = [Standardiser(WeightedComposite(FactoryPool(factory=Pool)), maximum=quota) for quota in (4, 8)]
    target = WeightedComposite(*sites, weight="utilisation")
    shape: dict[str, Any] = {"cores": 1, "memory": 1000, "sites": {"tier1": 4, "hpc": 8}, "idle_timeout": 0}
    controller = DemandController(target, ["head"], "service:9618", **shape, gates=str(gates))
    job = {"Owner": "ada", "JobUniverse": 5, "JobStatus": 1, "RequestCpus": 1, "RequestMemory": 100}
    (folder / "queue").write_text(json.dumps([job] * 6))
    seen = {}

    async def turn(name: str, **ok: bool) -> None:
        for site, is_ok in ok.items():
            gate.save(gates, site, gate.Gate(is_ok, 1.0, "broken"))
        await controller.ask(controller.watches[0])
        controller.settle()
        seen[name] = [target.demand, *(site.target.demand for site in sites)]

    async def story() -> None:
        await turn("none")
        await turn("first", tier1=False, hpc=True)
        await turn("both", hpc=False)
        await turn("other", tier1=True)
        os.utime(gate.find(gates, "hpc"), (1, 1))
        await turn("stale")

    trio.run(story)
    return seen


def follow_several(folder: Path) -> dict[str, Any]:
    """One access point answers, one hangs for ever, one answers once and then no more."""
    import trio

    from farmlet.parts.overlay import controller as module

    target = Pool(children=[Pool()])
    shape: dict[str, Any] = {"cores": 4, "memory": 4000, "sites": {"tier1": 99}, "idle_timeout": 0, "interval": 0.01}
    told = folder / "told-several"
    controller = module.DemandController(target, ["good", "hung", "mute"], "service:9618", **shape, told=str(told))
    module.SILENT = 0.0
    job = {"Owner": "ada", "JobUniverse": 5, "JobStatus": 1, "RequestCpus": 1, "RequestMemory": 100}
    (folder / "jobs").write_text(json.dumps([job] * 2))
    good, hung, mute = controller.watches
    good.command = ["cat", str(folder / "jobs")]
    hung.command = ["sleep", "1000"]
    mute.command = ["sh", "-c", f"test -e {folder}/asked && exit 1; touch {folder}/asked; cat {folder}/jobs"]
    seen = []

    async def see(condition: Any) -> None:
        with trio.fail_after(60):
            while not condition():
                await trio.sleep(0.01)
        seen.append(target.demand)

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(controller.run)
            await see(lambda: target.demand == 4 and mute.failures)
            (folder / "jobs").write_text(json.dumps([job] * 3))
            await see(lambda: target.demand == 5)  # the last known two of the mute one count
            module.KEPT = 0.0
            await see(lambda: target.demand == 3)
            nursery.cancel_scope.cancel()

    trio.run(story)
    longest = controller.pause(module.Watch("away for a night", [], failures=5000), 0)
    return {"seen": seen, "silent": json.loads(told.read_text())["silent"], "longest": longest}


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
    parameters |= {"known_hosts": str(folder / "known"), "programs": [str(folder / "drone.sh"), str(folder / "starter.py")]}
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
    refusals.append(await give_up(executor, site, description, commands))
    server.close()
    return {"answer": answer.stdout, "commands": commands, "refusals": refusals}


async def give_up(executor: Any, site: Path, description: str, commands: list[str]) -> str:
    """One of the drones gave up, and then another order comes; what it is told."""
    from tardis.exceptions.tardisexceptions import TardisResourceStatusUpdateFailed

    from farmlet.parts.overlay import executor as module

    module.WAIT = 0.0
    error = site / executor.folder / "tier1-bb.err"
    error.write_text("drone: wn17: this host has no bwrap\n")
    error.chmod(0o600)
    before = commands.count("condor_submit -verbose")
    try:
        await executor.run_command("condor_submit -verbose", description)
    except TardisResourceStatusUpdateFailed as refused:
        assert commands.count("condor_submit -verbose") == before
        return str(refused)
    return "ordered"


def main() -> None:
    folder = Path(sys.argv[1])
    result = {"controller": follow(folder), "executor": asyncio.run(order(folder / "tardis.yml", folder))}
    result["gates"] = close(folder)
    result["several"] = follow_several(folder)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
