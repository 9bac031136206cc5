#!/usr/bin/python3 -I
"""A drone's STARTER: HTCondor's own, in user, mount, PID and IPC namespaces made by bubblewrap.

The starter moves files and runs what a job's description says outside of the payload's container, as the site's account. In here
it sees the site's software, one job's folder and nothing else: neither the drone's token nor other drones, other jobs, or the
account's home. The payload's container comes on top of this.

It comes to the site with the drone and runs there by whatever Python from 3.6 on is there: nothing but the standard library.
From the drone's environment: CONDOR_CONFIG, FARMLET_STARTER (HTCondor's starter), FARMLET_SHOWN (folders with programs that the
site keeps elsewhere, with blanks between them). /cvmfs is the site's, and what the drone has besides: FARMLET_OWN, a folder of
the facility's, with images in FARMLET_FETCHED; repositories that FARMLET_HOLDER mounted, a process with namespaces for that.
`--try COMMAND…` runs something else in the same namespaces.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# Read-only, where a site has them: programs, settings that are open to everybody, images, Apptainer's empty mount points.
SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/etc", "/sys", "/cvmfs", "/var/lib/apptainer")
# who accounts are, and name servers, where /etc has a link to them
NAMES = ("/var/lib/sss/pipes", "/var/lib/sss/mc", str(Path("/etc/resolv.conf").resolve()))
# of its own, on the disk of the drone
OWN = ("execute", "log", "run", "tmp")
HEARD = {getattr(signal, "SIG" + name) for name in ("TERM", "QUIT", "HUP", "INT", "USR1", "USR2", "CHLD")}


def isolate(home: str, own: str, shown: "list[str]", command: "list[str]") -> "list[str]":
    """The words that run `command` in its namespaces; `home`: the drone's folder, `own`: what is there for this starter alone."""
    words = [*enter(os.environ), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"]
    for path in shown:
        words += ["--ro-bind-try", path, path]
    words += ["--proc", "/proc", "--dev", "/dev", "--dev-bind-try", "/dev/fuse", "/dev/fuse"]
    for path in ("/tmp", "/var/tmp"):
        words += ["--bind", f"{own}/tmp", path]
    for name in ("execute", "log", "run"):
        words += ["--bind", f"{own}/{name}", f"{home}/{name}"]
    # its settings, and the address at which the drone is reached
    for name in ("condor_config", "lock"):
        words += ["--ro-bind", f"{home}/{name}", f"{home}/{name}"]
    words += show_published(home, os.environ)
    return [*words, "--chdir", "/", "--remount-ro", "/", "--", *command]


def show_published(home: str, environment: "Mapping[str, str]") -> "list[str]":
    """/cvmfs put together where the drone has something that the site has not."""
    fetched, own, words = environment.get("FARMLET_FETCHED"), environment.get("FARMLET_OWN"), []
    mounted = [path.name for path in Path(home, "mounts").iterdir()] if environment.get("FARMLET_HOLDER") else []
    if not fetched and not mounted:
        return []
    for path in Path("/cvmfs").iterdir() if Path("/cvmfs").is_dir() else ():
        words += ["--ro-bind-try", str(path), str(path)]
    for name in mounted:
        words += ["--ro-bind-try", f"{home}/mounts/{name}", f"/cvmfs/{name}"]
    if fetched and own:
        words += ["--ro-bind", f"{home}/published", own]
        for name in (fetched, f"{home}/images"):
            words += ["--ro-bind", name, name]
    return ["--tmpfs", "/cvmfs", *words]


def enter(environment: "Mapping[str, str]") -> "list[str]":
    """Words before those of bubblewrap: it begins where repositories are mounted, and is the drone's user again in there."""
    holder = environment.get("FARMLET_HOLDER")
    if not holder:
        return ["bwrap"]
    user = ["--uid", str(os.getuid()), "--gid", str(os.getgid()), "--cap-drop", "ALL"]
    return ["nsenter", "--user", "--mount", "--preserve-credentials", "-t", holder, "--", "bwrap", *user]


def clean(environment: "Mapping[str, str]") -> "dict[str, str]":
    """What of the startd's environment is true in there."""
    # the one that counts processes out here cannot be reached: the starter begins another
    kept = {name: value for name, value in environment.items() if not name.startswith("CONDOR_PROCD_ADDRESS")}
    if "CONDOR_INHERIT" in kept:
        # the first word is its parent, and it ends when it does not see that
        kept["CONDOR_INHERIT"] = " ".join(["1", *kept["CONDOR_INHERIT"].split(" ")[1:]])
    return kept


def run(words: "list[str]", environment: "dict[str, str]") -> int:
    """The exit code of bubblewrap with `words`. Signals go to what runs in there; bubblewrap would just die of them."""
    # HTCondor starts its children with signals blocked; here they wait until they are asked for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, HEARD)
    # it gives its starter open sockets
    process = subprocess.Popen(words, env=environment, close_fds=False, preexec_fn=hear_all)
    while process.poll() is None:
        number = signal.sigwait(HEARD)
        while number != signal.SIGCHLD and process.poll() is None and not forward(process.pid, number):
            time.sleep(0.05)
    return process.returncode


def hear_all() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def forward(bubblewrap: int, number: int) -> bool:
    """Send a signal to what runs in the namespaces: the first child of their first process. False: it has not begun yet."""
    first = [pid for init in find_children(bubblewrap) for pid in find_children(init)[:1]]
    try:
        for pid in first:
            os.kill(pid, number)
    except ProcessLookupError:  # it has just ended
        pass
    return bool(first)


def find_children(pid: int) -> "list[int]":
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def main(words: "list[str]") -> int:
    starter = os.environ["FARMLET_STARTER"]
    if "-classad" in words:  # the startd asks what it can do
        os.execv(starter, [starter, *words])
    home = str(Path(os.environ["CONDOR_CONFIG"]).parent)
    own = f"{home}/execute/dir_{os.getpid()}"  # the startd leaves notes for a starter there, and removes what is left of it
    for name in OWN:
        Path(own, name).mkdir(parents=True)
    shown = [*SHOWN, *NAMES, *os.environ.get("FARMLET_SHOWN", "").split()]
    command = words[1:] if words[:1] == ["--try"] else [starter, *words]
    try:
        return run(isolate(home, own, shown, command), clean(os.environ))
    finally:
        shutil.rmtree(own, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
