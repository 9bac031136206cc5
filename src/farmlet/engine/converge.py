"""The program that changes nodes: pyinfra over SSH, every node at its own pace. Run as `python -m farmlet.engine.converge JOB`.

A process of its own because pyinfra works with gevent, which patches the standard library. JOB is a JSON file
{"nodes": {name: {"data": pyinfra's host data, "payload": local tar, "forget": [stamp…], "steps": [step…]}}}; each finished
step is one JSON line on standard output: {"node", "step", "ok", "seconds", "output"}. What the steps need in their environment
is a file of the payload, sourced on the node: what stands in a command line is read by every member.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import logging  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
from pyinfra.api.config import Config  # noqa: E402
from pyinfra.api.connect import connect_all, disconnect_all  # noqa: E402
from pyinfra.api.exceptions import NestedOperationError  # noqa: E402
from pyinfra.api.host import Host  # noqa: E402
from pyinfra.api.inventory import Inventory  # noqa: E402
from pyinfra.api.state import State  # noqa: E402
from pyinfra.context import ctx_host, ctx_state  # noqa: E402
from pyinfra.operations import apt, files, server, systemd  # noqa: E402

ROOM = "/run/farmlet"  # on tmpfs: secrets on their way never reach a disk
SOURCE = f". {ROOM}/payload/environment"
# package lists older than an hour, or gone, are fetched anew
FRESH = "find /var/lib/apt/lists -name '*_Packages*' -mmin -60 | grep -q . || apt-get -qq update"
BORROWED = "/var/lib/farmlet/uv"  # of root's own: what lies ready in a folder for everyone may be anyone's program
POLICY = "/usr/sbin/policy-rc.d"
UNPOLICY = f"! grep -qs 'farmlet: for now' {POLICY} || rm -f {POLICY}"  # an admin's own policy stays
STEP_SECONDS, CLEAN_SECONDS = 1800, 60  # a mirror that hangs must not hang `up` for ever

Step = dict[str, Any]


def do_packages(step: Step) -> None:
    server.shell(commands=[_suite(step["suite"]) if step["suite"] else FRESH])
    # services wait for their configuration: what a package would start with its defaults stays down until its Unit
    policy = "#!/bin/sh\\n# farmlet: for now\\nexit 101\\n"
    server.shell(commands=[f"[ -e {POLICY} ] || {{ printf '{policy}' > {POLICY} && chmod 755 {POLICY}; }}"])
    apt.packages(
        packages=list(step["names"]),
        no_recommends=True,
        extra_install_args=f"-t {step['suite']}" if step["suite"] else None,
        _env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    server.shell(commands=[UNPOLICY])


def _suite(suite: str) -> str:
    """Add another suite of the node's own mirror, pinned low: only what asks for it comes from there."""
    return f"""
set -e
{FRESH}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || {{ echo "apt on this node names no Debian mirror to take {suite} from" >&2; exit 1; }}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [check-valid-until=no signed-by=%s] %s {suite} main\\n' "$keys" "$mirror" > /etc/apt/sources.list.d/{suite}.list
printf 'Package: *\\nPin: release n={suite}\\nPin-Priority: 100\\n' > /etc/apt/preferences.d/{suite}
apt-get -qq update
"""


def do_environment(step: Step) -> None:
    path = shlex.quote(step["path"])
    flag = "--system-site-packages" if step["system"] else ""
    # uv resolves and builds several times as fast as pip; it is only borrowed, and gone after the change. It also removes
    # what is not required, so Farmlet's own wheel, if it was there, is gone too and must be seen to be
    script = f"""
set -e
{SOURCE}
export UV_INDEX_URL="${{PIP_INDEX_URL:-}}"
rm -f {path}/.requirements {path}/.farmlet
python3 -m venv {flag} {path}
if ! test -x {BORROWED}/bin/uv; then
    python3 -m venv {BORROWED}
    {BORROWED}/bin/pip install -q --disable-pip-version-check --no-cache-dir uv
fi
{BORROWED}/bin/uv pip sync -q --no-cache --compile-bytecode --python {path}/bin/python {ROOM}/payload/{step["blob"]}
printf %s {step["digest"]} > {path}/.requirements
"""
    server.shell(commands=[script])


def do_farmlet(step: Step) -> None:
    path = shlex.quote(step["path"])
    pip = f"{path}/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall --disable-pip-version-check"
    install = f"{pip} {ROOM}/payload/{step['file']} && printf %s {step['wheel']} > {path}/.farmlet"
    # several roles want it: the second would pull it from under the service that the first has just started
    there = f'[ "$(cat {path}/.farmlet 2>/dev/null)" = {step["wheel"]} ]'
    server.shell(commands=[f"{there} || {{ rm -f {path}/.farmlet && {install}; }}"])


def do_account(step: Step) -> None:
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


def do_put(step: Step) -> None:
    server.shell(commands=[f"python3 {ROOM}/payload/place.py put {step['group']}"])


def do_command(step: Step) -> None:
    server.shell(commands=[f"{SOURCE} && cd / && runuser -u {step['user']} -- sh -ec {shlex.quote(step['run'])}"])
    _stamp(step)


def do_unit(step: Step) -> None:
    if not step["running"]:
        server.shell(commands=[f"systemctl disable --now {step['name']} || systemctl stop {step['name']}"])
        return
    script = f"systemctl -q unmask {step['name']}; systemctl reset-failed {step['name']} 2>/dev/null || true"
    server.shell(commands=[script])
    reload = step["reload"]
    systemd.service(service=step["name"], running=True, enabled=True, daemon_reload=True, reloaded=reload, restarted=not reload)
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


def run(host: Host, node: dict[str, Any], teller: Teller) -> bool:
    """All steps of one node, in order, until one fails; what it was sent is removed however it ends."""
    prepare = {"op": "payload", "label": "payload", "path": node["payload"], "forget": node["forget"]}
    with ctx_host.use(host):
        try:
            return all(_do(host, node["name"], step, teller, STEP_SECONDS) for step in [prepare, *node["steps"]])
        finally:
            _do(host, node["name"], {"op": "clean", "label": "clean"}, teller, CLEAN_SECONDS)


def _do(host: Host, name: str, step: Step, teller: Teller, limit: int) -> bool:
    """One step within `limit` seconds; whatever goes wrong is told with the node's name."""
    start = time.monotonic()
    teller.lines[host.name] = []
    fault = ""
    try:
        with gevent.Timeout(limit):
            HANDLERS[step["op"]](step)
    except NestedOperationError:  # the node's own words are what counts
        fault = _output(teller, host.name) or "failed"
    except gevent.Timeout:
        fault = f"did not end within {limit} s\n{_output(teller, host.name)}"
    except Exception as error:  # of pyinfra, paramiko or ours: an untold one would end in silence
        fault = f"{_output(teller, host.name)}\n{type(error).__name__}: {error}".strip()
    _tell(name, step["label"], time.monotonic() - start, fault)
    return not fault


def _tell(node: str, step: str, seconds: float, fault: str = "") -> None:
    event = {"node": node, "step": step, "ok": not fault, "seconds": round(seconds, 2), "output": fault}
    print(json.dumps(event), flush=True)


def do_payload(step: Step) -> None:
    # closed before anything arrives: an upload is readable for a moment, until its mode is set
    server.shell(commands=[f"rm -rf {ROOM} && install -d -m 0700 {ROOM} {ROOM}/payload", UNPOLICY])
    files.put(src=step["path"], dest=f"{ROOM}/payload.tar", mode="600")
    unpack = f"tar -xf {ROOM}/payload.tar -C {ROOM}/payload"
    server.shell(commands=[f"{unpack} && python3 {ROOM}/payload/place.py forget {shlex.join(step['forget'])}"])


def do_clean(step: Step) -> None:
    server.shell(commands=[f"rm -rf {ROOM}/payload {ROOM}/payload.tar {BORROWED}", UNPOLICY])


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


def connect(state: State, nodes: dict[str, dict[str, Any]], teller: Teller) -> list[Host]:
    """The hosts that answer. Each that does not is a failed step of its own: pyinfra goes on without it and says nothing."""
    start = time.monotonic()
    fault = "does not answer by SSH"
    try:
        connect_all(state)
    except Exception as error:  # with no host left, or a key that cannot be read
        fault = f"{fault}: {error}"
    found: list[Host] = [host for host in state.inventory if host.connected]
    answering = {host.name for host in found}
    for name, node in nodes.items():
        if name not in answering:
            _tell(node["name"], "connect", time.monotonic() - start, _output(teller, name) or fault)
    return found


def main(path: str) -> int:
    job = json.loads(Path(path).read_text())
    teller = Teller()
    logger = logging.getLogger("pyinfra")
    logger.handlers[:] = [teller]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    # pyinfra knows this host by one name only
    nodes = {"@local" if node["data"].get("local") else name: node | {"name": name} for name, node in job["nodes"].items()}
    inventory = Inventory(([(name, node["data"]) for name, node in nodes.items()], {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(), check_for_changes=False)  # type: ignore[no-untyped-call]
    teller.lines.update({name: [] for name in nodes})
    hosts = connect(state, nodes, teller)
    state.is_executing = True
    # the state's context is shared by all greenlets, a host's is each one's own
    with ctx_state.use(state):
        greenlets = [gevent.spawn(run, host, nodes[host.name], teller) for host in hosts]
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, gevent.killall, greenlets, block=False)  # each still cleans up
        gevent.joinall(greenlets)
    disconnect_all(state)
    return 0 if len(hosts) == len(nodes) and all(greenlet.value is True for greenlet in greenlets) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
