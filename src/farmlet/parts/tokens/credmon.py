"""HTCondor's credential monitor for OAuth: keeps the access tokens of jobs and of log-in sessions fresh.

The contract, as seen from HTCondor 23: run as root by condor_master; given `<user>/<service>.top`, which condor_credd writes,
below the credential directory, it makes `<service>.use` beside it, which jobs get as it is, here the bare access token. The
monitor's process id is in `pid`, SIGHUP asks for a pass now, CREDMON_COMPLETE is touched after each.

A `.top` is JSON {"issuer", "client_id", "refresh_token"}, or {"of", "scopes", "audience"} for narrower tokens from the
credential of another service of the member (`credential`). One that its issuer refuses for good is taken away, and
`<service>.refused` says why.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.tokens import queue, sessions
from farmlet.parts.tokens.credential import Unusable, Wish, read_end
from farmlet.parts.tokens.keeper import BACKOFF, Keeper
from farmlet.parts.tokens.source import Issuers, Source, read
from farmlet.runtime.files import write

log = logging.getLogger("farmlet.credmon")

LONGEST = 60.0  # seconds between two looks at everything
SLICE = 5.0  # seconds of a pass: who stores a credential while thousands are due does not wait for all of them

Stamp = tuple[int | None, ...]


class Monitor:
    """All credentials below `root`. `issuers`: whom to ask at all; `audience`: of the first one's tokens that name none.

    `audience` is blank-separated. `settle` is called when it may matter to jobs who has a credential and who has none.
    """

    def __init__(
        self,
        root: Path,
        issuers: Issuers,
        audience: str = "",
        settle: Callable[[], None] = lambda: None,
        places: Path | None = None,
    ) -> None:
        self.root, self._issuers, self._audience, self._settle, self._places = root, issuers, audience, settle, places
        self._sources: dict[Path, Source] = {}
        self._keepers: dict[Path, Keeper] = {}
        self._stamps: dict[Path, Stamp] = {}
        self._due: dict[Path, float] = {}
        self._changed = True  # whether jobs should be looked at

    def sweep(self, scan: bool = True) -> float:
        """Renew what is due; the seconds until the next pass. With `scan` it is looked first what is stored now."""
        if scan:
            self._scan()
        end = time.monotonic() + SLICE
        self._ask(end)
        (self.root / "CREDMON_COMPLETE").touch()
        self._follow(scan)
        now = time.time()
        waits = (max(due - now, self._issuers.rest(self._keepers[path].source.issuer)) for path, due in self._due.items())
        wait = min(waits, default=math.inf)
        return min(max(wait, BACKOFF[0] if time.monotonic() < end else 0.0), LONGEST)

    def _follow(self, scan: bool) -> None:
        """Sessions and jobs, as the tokens are now. Whatever is the matter with them, tokens are renewed."""
        try:
            if self._places:
                sessions.refresh(self._places, self.root)
            if self._changed or scan:
                self._changed = False
                self._settle()
        except Exception as error:
            log.warning("sessions or jobs: %r", error)

    def _ask(self, end: float) -> None:
        """Renew what is due until `end` (monotonic), then put one question to each issuer that is silent.

        So who is silent never takes the others' part of a pass, and is heard within seconds when it is back. What may have been
        replaced comes first.
        """
        now = time.time()
        due = [self._keepers[path] for path, at in self._due.items() if at <= now]
        silent: dict[str, Keeper] = {}
        for keeper in sorted(due, key=lambda keeper: (not keeper.source.lost, self._due[keeper.top])):
            if self._issuers.is_silent(keeper.source.issuer):
                silent.setdefault(keeper.source.issuer, keeper)
            elif time.monotonic() < end:
                self._renew(keeper)
        for issuer, keeper in silent.items():
            if not self._issuers.rest(issuer):
                self._renew(keeper)

    def _scan(self) -> None:
        """Know what is stored now; tokens whose credential was taken back go with it."""
        found: dict[Path, tuple[Keeper, Stamp]] = {}
        for folder in list_folders(self.root):
            found |= self._look(folder)
        self._changed |= found.keys() != self._keepers.keys()
        for path, (keeper, stamp) in found.items():
            if stamp != self._stamps.get(path):
                keeper.wake()
                self._due[path] = keeper.due()
        self._keepers = {path: keeper for path, (keeper, _) in found.items()}
        self._sources = {keeper.source.top: keeper.source for keeper in self._keepers.values()}
        self._stamps = {path: stamp for path, (_, stamp) in found.items()}
        self._due = {path: self._due[path] for path in found}

    def _look(self, folder: str) -> dict[Path, tuple[Keeper, Stamp]]:
        """The credentials of one member, each with what tells that it changed."""
        times = list_times(folder)
        for name in (name for name in times if name.endswith(".use")):
            top = Path(folder, name).with_suffix(".top")
            if top.name not in times:
                self._forget(top, top)
        found: dict[Path, tuple[Keeper, Stamp]] = {}
        for name in (name for name in times if name.endswith(".top")):
            top = Path(folder, name)
            stored = self._stamps.get(top, ())[:1]
            keeper = self._keepers[top] if stored == (times[name],) else self._keep(top)
            stamp = (times[name], times.get(keeper.use.name), times.get(keeper.source.top.name))
            found[top] = (keeper, stamp)
            if keeper.use.name in times and keeper.source.top.name not in times:
                self._forget(top, keeper.source.top)
        return found

    def _keep(self, top: Path) -> Keeper:
        """A new keeper. Who gets tokens from another one's credential shares it."""
        try:
            of = Wish.parse(read(top)).of
        except (OSError, Unusable):
            of = ""  # its keeper will find out
        base = top.with_name(f"{of}.top") if of else top
        source = self._sources.get(base)
        if source is None or base == top:
            source = self._sources[base] = source or Source(base)
            source.look(self._issuers.urls)
        self._issuers.hurry(source.issuer)
        return Keeper(top, source, self._issuers, self._audience)

    def _forget(self, top: Path, gone: Path) -> None:
        """Remove the token of `top`, whose credential, `gone`, is away: at once if taken back, at its end if refused."""
        use = top.with_suffix(".use")
        try:
            if not (gone.with_suffix(".refused").exists() and read_end(use.read_bytes()) > time.time()):
                use.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s", use, error)

    def _renew(self, keeper: Keeper) -> None:
        name = f"{keeper.top.parent.name}/{keeper.top.stem}"
        answered, later = True, 0.0
        try:
            known = keeper.use.exists()
            if keeper.renew():
                self._changed |= not known
                log.info("%s: %s", name, "token renewed" if known else "first token")
        except Unusable as error:
            log.warning("%s is over until it is stored anew: %s", name, error)
            self._changed, later = True, math.inf
        except FileNotFoundError:
            later = math.inf  # it was taken back this very moment, or what it comes from: the next look knows
        except Exception as error:  # whatever one member stored must not keep the others' tokens from being renewed
            log.warning("%s: %s", name, error if isinstance(error, FarmletError | OSError) else repr(error))
            keeper.delay()
            answered = False
        self._due[keeper.top] = later or keeper.due()
        # whatever it looks like at the next look, it is not as it was at the last one
        self._stamps[keeper.top] = self._stamps[keeper.top][:1] if answered else self._stamps[keeper.top]

    def run(self) -> None:
        """Work until SIGTERM, SIGQUIT or SIGINT.

        Signals are taken between passes only: a process ended between an answer and its storing would lose a credential.
        """
        wake, end = {signal.SIGHUP}, {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, wake | end)
        write(self.root / "pid", str(os.getpid()).encode(), 0o644)
        log.info("watching %s for %s", self.root, " and ".join(self._issuers.urls))
        looked, scan = 0.0, True
        while True:
            looked = time.monotonic() if scan else looked
            seconds = self.sweep(scan)
            told = signal.sigtimedwait(wake | end, min(seconds, max(looked + LONGEST - time.monotonic(), 0.1)))
            if told is not None and told.si_signo in end:
                return
            scan = told is not None or time.monotonic() - looked >= LONGEST


def list_folders(root: Path) -> list[str]:
    """The members' folders."""
    with os.scandir(root) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))


def list_times(folder: str) -> dict[str, int]:
    """The files in a folder and when they were last written (ns); none if it is away."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat(follow_symlinks=False).st_mtime_ns for entry in entries if entry.name[0] != "."}
    except OSError:
        return {}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-credmon", description="HTCondor's credential monitor for OAuth.")
    parser.add_argument("folder", type=Path, help="the credential directory")
    parser.add_argument("--issuer", action="append", required=True, help="whose refresh tokens it takes, ours first")
    parser.add_argument(
        "--audience", action="append", default=[], help="whom our tokens are for that name nobody; may be repeated"
    )
    parser.add_argument("--cafile", help="authorities (PEM) instead of the system's")
    parser.add_argument("--sessions", type=Path, help="where log-in sessions find their tokens")
    parser.add_argument("--jobs", action="store_true", help="hold jobs that have no credential, release them when they have")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settle = partial(queue.settle, options.folder) if options.jobs else lambda: None
    try:
        issuers = Issuers(options.issuer, options.cafile)
        Monitor(options.folder, issuers, " ".join(options.audience), settle, options.sessions).run()
    except (FarmletError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
