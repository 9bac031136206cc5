"""HTCondor's credential monitor for OAuth: keeps the access tokens of jobs and of log-in sessions fresh.

The contract, as seen from HTCondor 23: run as root by condor_master; given `<user>/<service>.top`, which condor_credd writes,
below the credential directory, it makes `<service>.use` beside it, which jobs get as it is, here the bare access token. The
monitor's process id is in `pid`, SIGHUP asks for a pass now, CREDMON_COMPLETE is touched after each.

A `.top` is JSON {"issuer", "client_id", "refresh_token"}, or {"of", "scopes", "audience"} for narrower tokens from the
credential of another service of the member (`credential`). One that its issuer refuses for good is taken away, and
`<service>.refused` says why; one for which it gives nothing until its member has done something there stays, with
`<service>.waits` (`notes`).

Members store what they like, as often as they like: they take turns, and of each a bounded number is looked after.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.tokens import notes, queue, sessions
from farmlet.parts.tokens.credential import Unusable, Wish, choose, read_end, take_turns
from farmlet.parts.tokens.renewer import BACKOFF, Renewer, Waiting
from farmlet.parts.tokens.source import ROTATING, Issuers, Source, read
from farmlet.runtime.files import write

log = logging.getLogger("farmlet.credmon")

LONGEST = 60.0  # seconds between two looks at everything
SLICE = 5.0  # seconds of a pass: who stores a credential while thousands are due does not wait for all of them

Stamp = tuple[int | None, ...]


class Monitor:
    """All credentials below `root`. `issuers`: whom to ask at all; `audience`: of the first one's tokens that name none.

    `audience` is blank-separated. `settle` is called when it may matter to jobs who has a credential and who has none; it says
    whether it has more to do.
    """

    def __init__(
        self,
        root: Path,
        issuers: Issuers,
        audience: str = "",
        settle: Callable[[], bool] = lambda: False,
        places: Sequence[Path] = (),
    ) -> None:
        self.root, self._issuers, self._audience, self._settle, self._places = root, issuers, audience, settle, places
        self._sources: dict[Path, Source] = {}
        self._renewers: dict[Path, Renewer] = {}
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
        waits = (max(due - now, self._issuers.rest(self._renewers[path].source.issuer)) for path, due in self._due.items())
        wait = min(waits, default=math.inf)
        return min(max(wait, BACKOFF[0] if time.monotonic() < end else 0.0), LONGEST)

    def _follow(self, scan: bool) -> None:
        """Sessions and jobs, as the tokens are now. Whatever is the matter with them, tokens are renewed."""
        try:
            self._issuers.keep(self.root / ROTATING)
            for place in self._places:
                sessions.refresh(place, self.root)
            if self._changed or scan:
                self._changed = False
                self._changed = self._settle()
        except Exception as error:
            log.warning("sessions or jobs: %r", error)

    def _ask(self, end: float) -> None:
        """Renew what is due until `end` (monotonic), then put one question to each issuer that is silent.

        So who is silent never takes the others' part of a pass, and is heard within seconds when it is back.
        """
        now = time.time()
        due = [self._renewers[path] for path, at in self._due.items() if at <= now]
        silent: dict[str, Renewer] = {}
        for renewer in self._order(due):
            if self._issuers.is_silent(renewer.source.issuer):
                silent.setdefault(renewer.source.issuer, renewer)
            elif time.monotonic() < end:
                self._renew(renewer)
        for issuer, renewer in silent.items():
            if not self._issuers.rest(issuer):
                self._renew(renewer)

    def _order(self, due: Iterable[Renewer]) -> list[Renewer]:
        """What may have been replaced comes first; then the first of each member, then the second of each, and so on."""
        renewers = sorted(due, key=lambda renewer: self._due[renewer.top])
        lost = [renewer for renewer in renewers if renewer.source.lost]
        rest = [renewer for renewer in renewers if not renewer.source.lost]
        return [renewer for some in (lost, rest) for renewer in take_turns(some, lambda renewer: renewer.top.parent)]

    def _scan(self) -> None:
        """Know what is stored now; tokens whose credential was taken back go with it."""
        found: dict[Path, tuple[Renewer, Stamp]] = {}
        for folder in list_folders(self.root):
            try:
                found |= self._look(folder)
            except Exception as error:  # whatever it is about this member's, the others' are looked after
                log.warning("%s: %r", folder, error)
        self._changed |= found.keys() != self._renewers.keys()
        for path, (renewer, stamp) in found.items():
            if stamp != self._stamps.get(path):
                renewer.wake()
                self._due[path] = renewer.due()
        self._renewers = {path: renewer for path, (renewer, _) in found.items()}
        self._sources = {renewer.source.top: renewer.source for renewer in self._renewers.values()}
        self._stamps = {path: stamp for path, (_, stamp) in found.items()}
        self._due = {path: self._due[path] for path in found}

    def _look(self, folder: str) -> dict[Path, tuple[Renewer, Stamp]]:
        """The credentials of one member, each with what tells that it changed."""
        times = list_times(folder)
        for name in (name for name in times if name.endswith(".use")):
            top = Path(folder, name).with_suffix(".top")
            if top.name not in times:
                self._forget(top, top)
        found: dict[Path, tuple[Renewer, Stamp]] = {}
        for name in choose(name for name in times if name.endswith(".top")):
            top = Path(folder, name)
            stored = self._stamps.get(top, ())[:1]
            renewer = self._renewers[top] if stored == (times[name],) else self._keep(top)
            stamp = (times[name], times.get(renewer.use.name), times.get(renewer.source.top.name))
            found[top] = (renewer, stamp)
            base = renewer.source.top
            if renewer.use.name in times and (base.name not in times or f"{base.stem}{notes.WAITS}" in times):
                self._forget(top, base)
        return found

    def _keep(self, top: Path) -> Renewer:
        """A new renewer. Who gets tokens from another one's credential shares it."""
        try:
            of = Wish.parse(read(top)).of
        except (OSError, Unusable):
            of = ""  # its renewer will find out
        base = top.with_name(f"{of}.top") if of else top
        source = self._sources.get(base)
        if source is None or base == top:
            source = self._sources[base] = source or Source(base)
            source.look(self._issuers.urls)
        self._issuers.hurry(source.issuer)
        return Renewer(top, source, self._issuers, self._audience)

    def _forget(self, top: Path, gone: Path) -> None:
        """Remove the token of `top`, whose credential `gone` is away or waits: at its end if the issuer said so, else at once."""
        use = top.with_suffix(".use")
        try:
            if not (notes.find(gone).exists() and read_end(use.read_bytes()) > time.time()):
                use.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: %s", use, error)

    def _renew(self, renewer: Renewer) -> None:
        name = f"{renewer.top.parent.name}/{renewer.top.stem}"
        answered, later = True, 0.0
        try:
            known = renewer.use.exists()
            if renewer.renew():
                self._changed |= not known
                log.info("%s: %s", name, "token renewed" if known else "first token")
        except Unusable as error:
            log.warning("%s is over until it is stored anew: %s", name, error)
            self._changed, later = True, math.inf
        except Waiting as error:
            if notes.wait(renewer.source.top, str(error), renewer.source.owner):
                log.warning("%s waits: %s", name, error)
                self._changed = True
            renewer.delay()
            answered = False
        except FileNotFoundError:
            later = math.inf  # it was taken back this very moment, or what it comes from: the next look knows
        except Exception as error:  # whatever one member stored must not keep the others' tokens from being renewed
            log.warning("%s: %s", name, error if isinstance(error, FarmletError | OSError) else repr(error))
            renewer.delay()
            answered = False
        self._due[renewer.top] = later or renewer.due()
        # whatever it looks like at the next look, it is not as it was at the last one
        self._stamps[renewer.top] = self._stamps[renewer.top][:1] if answered else self._stamps[renewer.top]

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
    parser.add_argument(
        "--sessions", type=Path, action="append", default=[], help="where log-in sessions find their tokens; may be repeated"
    )
    parser.add_argument("--jobs", action="store_true", help="hold jobs that have no credential, release them when they have")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    settle = partial(queue.settle, options.folder) if options.jobs else lambda: False
    try:
        issuers = Issuers(options.issuer, options.cafile)
        Monitor(options.folder, issuers, " ".join(options.audience), settle, options.sessions).run()
    except (FarmletError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
