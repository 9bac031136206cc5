"""Runs ON a node (standard library only), in an unpacked payload: does the steps of its `job.json` until one fails.

The job is {"forget": [stamp…], "steps": [step…]}. Each step that ended is one JSON line on standard output: {"step", "ok",
"seconds", "output"}. What the steps need in their environment is a file of the payload: what stands in a command line is read
by every member. Standard input says for how long `up` is there: when it ends no other step begins, and the one that runs is
ended too, unless it installs packages, which nobody wants half done. What was sent is removed however it all ends.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import place  # type: ignore[import-not-found]  # beside it in the payload

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
SOURCE = f". {HERE}/environment"
# package lists older than an hour, or gone, are fetched anew
FRESH = "find /var/lib/apt/lists -name '*_Packages*' -mmin -60 | grep -q . || apt-get -qq update"
# where an admin's own run of apt holds the lock, it is waited for
APT = (
    "DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300"
    " -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold"
)
INSTALLER = f"{HERE}/installer.txt"
BORROWED = "/var/lib/farmlet/uv"  # of root's own: what lies ready in a folder for everyone may be anyone's program
POLICY = "/usr/sbin/policy-rc.d"
UNPOLICY = f"! grep -qs 'farmlet: for now' {POLICY} || rm -f {POLICY}"  # an admin's own policy stays
# a mirror that hangs must not hang `up` for ever
STEP_SECONDS, TERM_SECONDS = 1800, 10
OUTPUT = 4000  # bytes of a failure that are told

Step = dict[str, Any]


class Failed(Exception):
    """A step did not do what it should; with its output."""


class Line:
    """Whether `up` is still there, and what to end when it goes."""

    def __init__(self) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self) -> None:
        """Wait for the end of standard input; a thread of its own."""
        while os.read(0, 4096):
            pass
        with self._lock:
            self.over, process = True, self._process
        if process is not None:
            end(process)

    def hold(self, process: subprocess.Popen[bytes] | None) -> None:
        """This one is to be ended, or none."""
        with self._lock:
            self._process = process
            late = self.over
        if late and process is not None:
            end(process)


line = Line()


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group, which it leads; the last may need a moment longer than it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + TERM_SECONDS
        while time.monotonic() < until:
            process.poll()
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                return
            time.sleep(0.1)


def shell(script: str, whole: bool = False) -> None:
    """Run a script as root. `whole`: it is left to its end though `up` should go."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ["sh", "-ec", script], stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", start_new_session=True
        )
        line.hold(None if whole else process)
        fault = ""
        try:
            code = process.wait(STEP_SECONDS)
            fault = f"ended with {code}" if code else ""
            if line.over and not whole:
                end(process)  # what it started may outlive it for a moment
        except subprocess.TimeoutExpired:
            end(process)
            fault = f"did not end within {STEP_SECONDS} s"
        finally:
            line.hold(None)
        if fault:
            said.seek(max(0, said.seek(0, os.SEEK_END) - OUTPUT))
            words = said.read().decode(errors="replace").strip()
            raise Failed(f"{words}\n{fault}" if words else fault)


def packages(step: Step) -> None:
    """What is there already is left as it is: an upgrade is the admin's business."""
    missing = [name for name in step["names"] if not installed(name)]
    suite = step["suite"]
    shell(add_suite(suite, step["names"]) if suite else FRESH, whole=True)
    # services wait for their configuration: what a package would start with its defaults stays down until its Unit
    policy = "#!/bin/sh\\n# farmlet: for now\\nexit 101\\n"
    shell(f"[ -e {POLICY} ] || {{ printf '{policy}' > {POLICY} && chmod 755 {POLICY}; }}")
    # what those of another suite cannot do without comes from there too, where the node's own has nothing that would do
    words = ["--no-strict-pinning", *(f"{name}/{suite}" for name in missing)] if suite else missing
    if missing:
        shell(f"{APT} install --no-install-recommends {' '.join(words)}", whole=True)
    shell(UNPOLICY)


def installed(name: str) -> bool:
    asked = ["dpkg-query", "-W", "-f", "${db:Status-Abbrev}", name]
    return subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.startswith("ii")


def add_suite(suite: str, names: list[str]) -> str:
    """The script that adds another suite of the node's own mirror, from which nothing comes but `names`, and their updates.

    Whether a suite's lists may be out of date is up to the node's own configuration of apt.
    """
    pins = "/etc/apt/preferences.d/farmlet"
    return f"""
{FRESH}
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
[ -n "$mirror" ] || {{ echo "apt on this node names no Debian mirror to take {suite} from" >&2; exit 1; }}
keys=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'Package: *\\nPin: release n={suite}\\nPin-Priority: -1\\n' > {pins}-{suite}
printf 'Package: {" ".join(names)}\\nPin: release n={suite}\\nPin-Priority: 100\\n' > {pins}-{suite}-{names[0].replace("+", "_")}
printf 'deb [signed-by=%s] %s {suite} main\\n' "$keys" "$mirror" > /etc/apt/sources.list.d/farmlet-{suite}.list
apt-get -qq update
"""


def environment(step: Step) -> None:
    path = shlex.quote(step["path"])
    flag = "--system-site-packages" if step["system"] else ""
    # uv resolves and builds several times as fast as pip; it is only borrowed, and gone after the change. It also removes
    # what is not required, so Farmlet's own wheel, if it was there, is gone too and must be seen to be. Whatever root runs
    # here is known by its hash: uv, what it installs, and what builds packages that have no wheel
    shell(f"""
{SOURCE}
export UV_INDEX_URL="${{PIP_INDEX_URL:-}}"
rm -f {path}/.requirements {path}/.farmlet
python3 -m venv {flag} {path}
if ! test -x {BORROWED}/bin/uv; then
    python3 -m venv {BORROWED}
    {BORROWED}/bin/pip install -q --disable-pip-version-check --no-cache-dir --require-hashes -r {INSTALLER}
fi
{BORROWED}/bin/uv pip sync -q --no-cache --compile-bytecode --require-hashes --build-constraints {INSTALLER} \\
    --python {path}/bin/python {HERE}/{step["blob"]}
printf %s {step["digest"]} > {path}/.requirements
""")


def farmlet(step: Step) -> None:
    path = shlex.quote(step["path"])
    pip = f"{path}/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall --disable-pip-version-check"
    install = f"{pip} {HERE}/{step['file']} && printf %s {step['wheel']} > {path}/.farmlet"
    # several roles want it: the second would pull it from under the service that the first has just started
    there = f'[ "$(cat {path}/.farmlet 2>/dev/null)" = {step["wheel"]} ]'
    shell(f"{there} || {{ rm -f {path}/.farmlet && {install}; }}")


def account(step: Step) -> None:
    """A system account, its groups and its home. The groups it has besides stay."""
    name, home = step["name"], step["home"]
    for group in step["groups"]:
        if not known(grp.getgrnam, group):
            shell(f"groupadd --system {group}")
    if known(pwd.getpwnam, name):
        change_account(pwd.getpwnam(name), step)
    else:
        own = ["--gid", name] if known(grp.getgrnam, name) else ["--user-group"]
        groups = ["--groups", ",".join(step["groups"])] if step["groups"] else []
        shell(shlex.join(["useradd", "--system", "--no-create-home", "-d", home, "-s", step["shell"], *own, *groups, name]))
    if home != "/nonexistent" and not os.path.isdir(home):
        shell(f"install -d -o {name} -g $(id -g {name}) {shlex.quote(home)}")


def change_account(found: pwd.struct_passwd, step: Step) -> None:
    """Only what differs is named: usermod refuses much of an account that is in use."""
    options: list[str] = []
    if found.pw_dir != step["home"]:
        options += ["-d", step["home"]]
    if found.pw_shell != step["shell"]:
        options += ["-s", step["shell"]]
    if step["groups"]:
        options += ["--append", "--groups", ",".join(step["groups"])]
    if options:
        shell(shlex.join(["usermod", *options, step["name"]]))


def known(look: Any, name: str) -> bool:
    try:
        look(name)
    except KeyError:
        return False
    return True


def put(step: Step) -> None:
    for item in step["items"]:
        getattr(place, item["kind"].lower())(item)


def command(step: Step) -> None:
    shell(f"{SOURCE}; runuser -u {step['user']} -- sh -ec {shlex.quote(step['run'])}")
    place.stamp(step["stamp"], step["fingerprint"])


def reload(step: Step) -> None:
    """systemd reads all units anew, which takes it half a second on a node: once for those that follow, not for each."""
    shell("systemctl daemon-reload")


def unit(step: Step) -> None:
    name = shlex.quote(step["name"])  # those of mounts may hold a backslash
    if not step["running"]:
        shell(f"systemctl disable --now {name} || systemctl stop {name}")
        return
    verb = "reload-or-restart" if step["reload"] else "restart"
    shell(f"""
[ "$(systemctl is-enabled {name} 2>/dev/null)" != masked ] || systemctl -q unmask {name}
systemctl reset-failed {name} 2>/dev/null || true
systemctl {verb} {name}
systemctl -q is-enabled {name} >/dev/null || systemctl -q --no-reload enable {name}
""")
    place.stamp(step["stamp"], step["fingerprint"])


def clean(step: Step) -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    shutil.rmtree(BORROWED, ignore_errors=True)
    shell(UNPOLICY, whole=True)


def do(call: Any, step: Step) -> bool:
    """One step; whatever goes wrong is told."""
    start, fault = time.monotonic(), ""
    try:
        call(step)
    except Failed as failed:
        fault = str(failed)
    except Exception as error:  # of the system or ours: an untold one would end in silence
        fault = f"{type(error).__name__}: {error}"
    seconds = round(time.monotonic() - start, 2)
    if fault or call is not clean:
        try:
            print(json.dumps({"step": step["label"], "ok": not fault, "seconds": seconds, "output": fault}), flush=True)
        except OSError:  # nobody listens any more
            line.over = True
    return not fault


def main() -> int:
    with open(os.path.join(HERE, "job.json")) as handle:
        job = json.load(handle)
    threading.Thread(target=line.watch, daemon=True).start()
    try:
        place.forget(job["forget"])
        for step in job["steps"]:
            if line.over or not do(globals()[step["op"]], step):
                return 1
    finally:
        line.hold(None)
        do(clean, {"label": "clean"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
