"""The program that changes nodes: pyinfra over SSH, every node at its own pace. Run as `python -m farmlet.engine.converge JOB`.

A process of its own because pyinfra works with gevent, which patches the standard library. JOB is a JSON file
{"nodes": {name: {"data": pyinfra's host data, "payload": local tar, "environment": {…}, "steps": [step…]}}}; each finished
step is one JSON line on standard output: {"node", "step", "ok", "seconds", "output"}.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import logging  # noqa: E402
import shlex  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.exceptions import PyinfraError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.state import State  # noqa: E402
from pyinfra.context import ctx_host, ctx_state  # noqa: E402
from pyinfra.operations import apt, files, server, systemd  # noqa: E402

ROOM = "/run/farmlet"  # on tmpfs: secrets on their way never reach a disk
# package lists older than an hour, or gone, are fetched anew
FRESH = "find /var/lib/apt/lists -name '*_Packages*' -mmin -60 | grep -q . || apt-get -qq update"
BORROWED = "/var/tmp/farmlet-uv"  # noqa: S108
POLICY = "/usr/sbin/policy-rc.d"

Step = dict[str, Any]


def do_packages(step: Step, environment: dict[str, str]) -> None:
    server.shell(commands=[_suite(step["suite"]) if step["suite"] else FRESH])
    # services wait for their configuration: what a package would start with its defaults stays down until its Unit
    server.shell(commands=[f"printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}"])
    apt.packages(
        packages=list(step["names"]),
        no_recommends=True,
        extra_install_args=f"-t {step['suite']}" if step["suite"] else None,
        _env={"DEBIAN_FRONTEND": "noninteractive", **environment},
    )
    server.shell(commands=[f"rm -f {POLICY}"])


def _suite(suite: str) -> str:
    """Add another suite of the node's own mirror, pinned low: only what asks for it comes from there."""
    return f"""
set -e
{FRESH}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
keys=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [check-valid-until=no signed-by=%s] %s {suite} main\\n' "$keys" "$mirror" > /etc/apt/sources.list.d/{suite}.list
printf 'Package: *\\nPin: release n={suite}\\nPin-Priority: 100\\n' > /etc/apt/preferences.d/{suite}
apt-get -qq update
"""


def do_environment(step: Step, environment: dict[str, str]) -> None:
    path = shlex.quote(step["path"])
    flag = "--system-site-packages" if step["system"] else ""
    # uv resolves and builds several times as fast as pip; it is only borrowed, and gone after the change
    script = f"""
set -e
rm -f {path}/.requirements
test -x {path}/bin/python || python3 -m venv {flag} {path}
test -x {BORROWED}/bin/uv || {{ python3 -m venv {BORROWED} && {BORROWED}/bin/pip install -q --disable-pip-version-check --no-cache-dir uv; }}
{BORROWED}/bin/uv pip sync -q --no-cache --compile-bytecode --python {path}/bin/python {ROOM}/payload/{step["blob"]}
printf %s {step["digest"]} > {path}/.requirements
"""
    server.shell(commands=[script], _env=environment | {"UV_INDEX_URL": environment.get("PIP_INDEX_URL", "")})


def do_farmlet(step: Step, environment: dict[str, str]) -> None:
    path = shlex.quote(step["path"])
    pip = f"{path}/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall --disable-pip-version-check"
    server.shell(commands=[f"{pip} {ROOM}/payload/{step['file']} && printf %s {step['wheel']} > {path}/.farmlet"])


def do_account(step: Step, environment: dict[str, str]) -> None:
    for group in step["groups"]:
        server.group(group=group, system=True)
    home = step["home"]
    server.user(
        user=step["name"],
        home=home,
        shell=step["shell"],
        groups=list(step["groups"]),
        system=True,
        ensure_home=home != "/nonexistent",
        create_home=home != "/nonexistent",
    )


def do_put(step: Step, environment: dict[str, str]) -> None:
    server.shell(commands=[f"python3 {ROOM}/payload/place.py put {step['group']}"])


def do_command(step: Step, environment: dict[str, str]) -> None:
    server.shell(commands=[f"cd / && runuser -u {step['user']} -- sh -ec {shlex.quote(step['run'])}"], _env=environment)
    _stamp(step)


def do_unit(step: Step, environment: dict[str, str]) -> None:
    if not step["running"]:
        server.shell(commands=[f"systemctl disable --now {step['name']} || systemctl stop {step['name']}"])
        return
    again = {"reloaded": True} if step["reload"] else {"restarted": True}
    server.shell(commands=[f"systemctl reset-failed {step['name']} 2>/dev/null || true"])
    systemd.service(service=step["name"], running=True, enabled=True, daemon_reload=True, **again)
    _stamp(step)


def _stamp(step: Step) -> None:
    words = ["python3", f"{ROOM}/payload/place.py", "stamp", step["stamp"], step["fingerprint"]]
    server.shell(commands=[shlex.join(words)])


class Teller(logging.Handler):
    """Keeps what pyinfra logs of one run, by host, so that a failure can be told with its output."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for name, lines in self.lines.items():
            if f"[{name}]" in text:
                said = text.split("]", 1)[1].strip()
                if said in ("Success", "No changes"):
                    lines.clear()  # of an operation before the one that failed
                else:
                    lines.append(said)


def run(state: State, host: Host, node: dict[str, Any], teller: Teller) -> bool:
    """All steps of one node, in order, until one fails."""
    with ctx_host.use(host):
        prepare = [{"op": "payload", "label": "payload", "path": node["payload"], "forget": node["forget"]}]
        for step in [*prepare, *node["steps"], {"op": "clean", "label": "clean"}]:
            start = time.monotonic()
            teller.lines[host.name] = []
            try:
                HANDLERS[step["op"]](step, node["environment"])
                ok = True
            except PyinfraError:
                ok = False
            event = {
                "node": node["name"],
                "step": step["label"],
                "ok": ok,
                "seconds": round(time.monotonic() - start, 2),
            }
            print(json.dumps(event | ({} if ok else {"output": _output(teller, host.name)})), flush=True)
            if not ok:
                return False
    return True


def do_payload(step: Step, environment: dict[str, str]) -> None:
    server.shell(commands=[f"rm -rf {ROOM} && install -d -m 0700 {ROOM}/payload"])
    files.put(src=step["path"], dest=f"{ROOM}/payload.tar", mode="600")
    unpack = f"tar -xf {ROOM}/payload.tar -C {ROOM}/payload"
    server.shell(commands=[f"{unpack} && python3 {ROOM}/payload/place.py forget {shlex.join(step['forget'])}"])


def do_clean(step: Step, environment: dict[str, str]) -> None:
    server.shell(commands=[f"rm -rf {ROOM}/payload {ROOM}/payload.tar {BORROWED}"])


def _output(teller: Teller, name: str) -> str:
    return "\n".join(line for line in teller.lines[name] if line)[-4000:]


HANDLERS = {
    "payload": do_payload,
    "packages": do_packages,
    "environment": do_environment,
    "farmlet": do_farmlet,
    "account": do_account,
    "put": do_put,
    "command": do_command,
    "unit": do_unit,
    "clean": do_clean,
}


def main(path: str) -> int:
    job = json.loads(Path(path).read_text())
    teller = Teller()
    logger = logging.getLogger("pyinfra")
    logger.handlers[:] = [teller]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # pyinfra knows this host by one name only
    nodes = {
        "@local" if node["data"].get("local") else name: node | {"name": name} for name, node in job["nodes"].items()
    }
    state = State(
        Inventory(([(name, node["data"]) for name, node in nodes.items()], {})), Config(), check_for_changes=False
    )
    for name in nodes:
        teller.lines[name] = []
    try:
        connect_all(state)
    except PyinfraError as error:
        print(json.dumps({"node": "", "step": "connect", "ok": False, "seconds": 0, "output": str(error)}), flush=True)
        return 1
    state.is_executing = True
    # the state's context is shared by all greenlets, a host's is each one's own
    with ctx_state.use(state):
        hosts = state.inventory.get_active_hosts()
        greenlets = [gevent.spawn(run, state, host, nodes[host.name], teller) for host in hosts]
        gevent.joinall(greenlets)
    disconnect_all(state)
    return 0 if all(greenlet.value for greenlet in greenlets) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
