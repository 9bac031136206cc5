"""Play the demo: every step timed, with evidence; stop at the first that fails and say where to look."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from farmlet.demo.browser import Browser
from farmlet.demo.machine import Machine
from farmlet.demo.stage import Member, Stage
from farmlet.demo.steps import GUEST_STEPS, STEPS, Play
from farmlet.errors import FarmletError, InputError
from farmlet.runtime.files import write

ALL = b"*\n"  # what git is to ignore
HINT = "farmlet status; farmlet logs; then run farmlet demo again"
# what a node that dies meanwhile looks like from here: no connection, a cut answer, a program that fails or hangs
FAULTS = (FarmletError, OSError, http.client.HTTPException, subprocess.SubprocessError, ValueError, LookupError)


@dataclass(frozen=True)
class Outcome:
    """One step: `seconds` it took, and its evidence or, if it failed, what was wrong."""

    name: str
    ok: bool
    seconds: float
    evidence: str


@dataclass
class Report:
    """All steps that were played. `result` has the member's name, the counts and the fit (GeV)."""

    steps: list[Outcome] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    plot: str = ""
    links: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    wanted: int = len(STEPS)

    @property
    def ok(self) -> bool:
        return len(self.steps) == self.wanted and all(step.ok for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """`{"ok", "steps": [{"name", "ok", "seconds", "evidence"}], "result", "plot", "links"}`."""
        steps = [asdict(step) for step in self.steps]
        return {"ok": self.ok, "steps": steps, "result": self.result, "plot": self.plot, "links": self.links}

    def summarise(self) -> list[str]:
        """The last lines a person reads: the plot, where to go, what to try next."""
        places = [f"{title}: {url}" for title, url in {"plot": self.plot, **self.links}.items()]
        return [*places, "next:", *(f"  {hint}" for hint in self.hints)]


class StepFailed(FarmletError):
    """A step failed; `report` holds all steps up to it, for `demo --json`."""

    def __init__(self, where: str, what: str, hint: str, report: Report) -> None:
        super().__init__(where, what, hint)
        self.report = report


def run(
    stage: Stage,
    tell: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    steps: Sequence[tuple[str, Callable[[Play], str]]] | None = None,
) -> Report:
    """Play `steps` on `stage`, one line told for each. Raises StepFailed at the first that fails."""
    ensure_private(stage.workdir)
    whole = GUEST_STEPS if stage.guest else STEPS
    steps = whole if steps is None else steps
    play = Play(stage, Member(), Machine(stage), Browser(stage.cafile))
    report = Report(result={"member": play.member.name}, links=dict(stage.links), wanted=len(whole))
    for number, (name, step) in enumerate(steps, start=1):
        began = time.monotonic()
        try:
            evidence, fault = step(play), None
        except FAULTS as error:
            evidence, fault = describe(error), error
        seconds = round(time.monotonic() - began, 1)
        report.steps.append(Outcome(name, fault is None, seconds, evidence))
        report.result |= play.member.result
        tell(f"{number}/{len(steps)} {'ok    ' if fault is None else 'FAILED'} {seconds:6.1f} s  {name}: {evidence}")
        if fault is not None:
            play.close()
            given = fault.hint if isinstance(fault, FarmletError) else ""
            hint = "; ".join(filter(None, (given, HINT)))
            raise StepFailed(f"demo step {number} ({name})", evidence, hint, report) from fault
    report.plot = str(stage.workdir / "plot.png")
    report.hints = suggest(stage, play.member)
    return report


def ensure_private(folder: Path) -> None:
    """Have a folder that nobody else can look into, and no git takes in: a password and a key will lie there.

    One that was made for something else is left as it is, and refused (InputError) if others can look into it.
    """
    ignored = folder / ".gitignore"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be made: {error.strerror}" if not folder.exists() else "is no folder"
        raise InputError(f"farmlet demo --workdir {folder}", what, "name a folder that is not there yet") from error
    if not any(folder.iterdir()) or (ignored.exists() and ignored.read_bytes() == ALL):
        folder.chmod(0o700)
        write(ignored, ALL)
    elif folder.stat().st_mode & 0o077:
        hint = f"chmod 700 {folder}; or name a folder that is not there yet"
        raise InputError(f"farmlet demo --workdir {folder}", "others can look into it, and a password will lie there", hint)


def describe(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, FarmletError):
        return f"{error.where}: {error.what}"
    return f"{type(error).__name__}: {error}"


def suggest(stage: Stage, member: Member) -> list[str]:
    """What to try next, as this member."""
    own = [
        f"sign in to the pages as {member.name}; the password is in {stage.workdir / 'password'}",
        "farmlet user add NAME --group GROUP   # a member of your own",
    ]
    return [
        f"ssh -F {stage.workdir / 'ssh_config'} {stage.host}   # as {member.name}; the jobs are in ~/farmlet-demo",
        *(["farmlet login"] if stage.guest else own),
    ]
