"""`farmlet node`: the nodes, one that leaves, and a root command on one of them."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_actions, print_either, print_json, print_table
from farmlet.engine.attach import attach
from farmlet.engine.deployment import Deployment
from farmlet.engine.drain import Drain
from farmlet.engine.preflight import Busy
from farmlet.errors import SSH_FAILED, FarmletError, InputError
from farmlet.runtime.numbers import number

ACTIONS = {
    "list": "all nodes, their state and address",
    "drain": "a node takes nothing new; what runs there goes on",
    "remove": "drain a node, and take it out of the facility once nothing runs there",
    "exec": "a root command on one node: farmlet node exec NODE -- COMMAND",
}


def add(parser: argparse.ArgumentParser) -> None:
    _, drain, remove, exec_ = add_actions(parser, ACTIONS).values()
    drain.add_argument("--undo", action="store_true", help="it takes part again")
    remove.add_argument("--lost", action="store_true", help="it is broken for good: what it held is lost, data too")
    for action in (drain, remove, exec_):
        action.add_argument("name", help="the node")
    for action in (drain, remove):
        action.add_argument("--wait", type=number, default=0, metavar="MINUTES", help="how long to wait until nothing runs there")
    exec_.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run there as root")


def run(args: argparse.Namespace) -> int:
    deployment = open_deployment(args, running=True)
    return {"list": list_, "drain": drain, "remove": remove, "exec": exec_}[args.action](deployment, args)


def exec_(deployment: Deployment, args: argparse.Namespace) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise InputError("farmlet node exec", "needs a command", "farmlet node exec head -- systemctl --failed")
    target = deployment.target(args.name)
    code, out, err = attach(target.driver.shell(target.machine), command, keep=args.json)
    if code == SSH_FAILED:
        deployment.run(args.name, ["true"], timeout=20)  # says so where it is the node that does not answer
    if args.json:
        print_json({"node": args.name, "code": code, "output": out, "errors": err})
    return code


def list_(deployment: Deployment, args: argparse.Namespace) -> int:
    drained = deployment.store.load().get("drained", {})
    rows: list[dict[str, Any]] = []
    for name, machine in deployment.layout.machines().items():
        target = deployment.target(name)
        node = deployment.facility.nodes.get(name)
        rows.append(
            {
                "node": name,
                "state": target.driver.state(machine) + (", drained" if name in drained else ""),
                "name": machine.fqdn,
                "address": target.driver.address(machine),
                "roles": list(node.roles) if node else ["stand-in site"],
            }
        )
    if args.json:
        print_json(rows)
    else:
        print_table(
            [(row["node"], row["state"], row["address"], row["name"], " ".join(row["roles"])) for row in rows],
            ("node", "state", "address", "name", "roles"),
        )
    return 0


def drain(deployment: Deployment, args: argparse.Namespace) -> int:
    drain = Drain(deployment, args.name)
    if args.undo:
        drain.open()
        print_either(args, {"node": args.name, "drained": False, "busy": []}, f"{args.name} takes part again")
        return 0
    drain.close()
    busy = drain.wait(args.wait)
    if args.json:
        print_json({"node": args.name, "drained": True, "busy": [asdict(one) for one in busy]})
        return 0
    print(f"{args.name} takes nothing new" + ("; what runs there goes on:" if busy else ", and nothing runs there"))
    for one in busy:
        print(f"  {one.what} ({one.role})")
    print(f"next: `farmlet node remove {args.name}`, or `farmlet node drain {args.name} --undo`")
    return 0


def remove(deployment: Deployment, args: argparse.Namespace) -> int:
    drain = Drain(deployment, args.name)
    drain.refuse_control()
    if args.lost:
        drain.refuse_running()
    else:
        drain.refuse_what_stays()
        drain.close()
        _refuse_busy(args.name, drain.wait(args.wait))
    with deployment.store.locked():
        drain.remove()
    if args.json:
        print_json({"node": args.name, "removed": True})
        return 0
    print(f"{args.name} is out of the facility")
    if drain.node.connect in ("ssh", "local"):
        print("the host itself is left as it is, with its services running: switch it off or install it anew")
    following = "`farmlet up`, so that the others forget it"
    if args.name in deployment.facility.nodes:
        following = f"take its lines out of the facility file, then {following}"
    print(f"next: {following}")
    return 0


def _refuse_busy(name: str, busy: list[Busy]) -> None:
    if busy:
        told = "".join(f"\n  {one.what} ({one.role})" for one in busy)
        hint = f"`farmlet node remove {name} --wait 600` waits up to 600 minutes; `farmlet node drain {name} --undo` gives up"
        raise FarmletError(f"node {name}", f"takes nothing new, but is not empty and stays:{told}", hint)
