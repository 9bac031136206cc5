"""`farmlet VERB`: finds the verb, runs it, tells what went wrong. Exit 0 well, 1 failed, 2 your input, 3 would change."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from importlib import import_module
from types import FrameType
from typing import NoReturn

from farmlet import __version__
from farmlet.cli.options import add_common, add_output
from farmlet.errors import Errors, FarmletError, InputError

VERBS = {
    "init": "write a facility file to start from",
    "validate": "check the facility file; every error at once",
    "plan": "show what `up` would change (exit 3 when something would)",
    "up": "make the facility as its file says; safe to repeat",
    "status": "what runs, as its nodes last reported",
    "check": "run the checks now",
    "demo": "a new member's first analysis, from registration to a fitted Z peak",
    "user": "members: add, list, approve, suspend, remove, their groups and ends; service members",
    "client": "programs that may ask for tokens: list, show, set, remove",
    "token": "break-glass: a token as a member, audited",
    "node": "nodes: list, drain, remove, exec",
    "images": "software images: list, build, test, publish, remove",
    "sitetest": "tests of the sites: list, run, show; close a site to new drones",
    "explain": "what a member may do, and which line of the file says so; `explain job ID`: why a job is where it is",
    "rotate": "new keys: issuer [--now], ca",
    "login": "a member's own machine: token, SSH certificate, and what ssh needs to use it",
    "logout": "end a log-in and remove what it made on this machine",
    "logs": "the newest log lines of all nodes",
    "down": "stop the facility; --purge removes all that `up` made",
}
OWN = ("login", "logout")  # what members do on machines of their own, where no facility file is
INSTALL = "in a clone of the repository: pip install '.[deploy]' (the name `farmlet` on the package index is not ours yet)"
EPILOG = "Docs: docs/ in the repository. Start with `farmlet up`, then `farmlet demo`."


class Parser(argparse.ArgumentParser):
    """A command line whose mistakes are errors like any other, below its actions too."""

    def error(self, message: str) -> NoReturn:
        raise InputError(self.prog, message, f"{self.prog} --help")


def parser() -> Parser:
    """The whole command line; a verb's module is imported only when it is asked for."""
    top = Parser(prog="farmlet", description="One file and one or two machines: an analysis facility.", epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"farmlet {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".", add_help=False)
    return top


def verb_parser(verb: str) -> Parser:
    text = VERBS[verb]
    found = Parser(prog=f"farmlet {verb}", description=text[0].upper() + text[1:] + ".")
    (add_output if verb in OWN else add_common)(found)
    if add := getattr(import_module(f"farmlet.cli.{verb}"), "add", None):  # some have no arguments of their own
        add(found)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the process's exit status. With `--json` standard output is one JSON value, whatever happens."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[: words.index("--")] if "--" in words else words
    said = io.StringIO() if "--json" in options else None
    try:
        with redirect_stdout(said) if said else nullcontext():
            code, fault, args = _run(words)
        if fault:
            _tell(fault, bool({"-v", "--verbose"} & set(options)))
        if said is not None:
            wanted = args is None or args.json  # and it was no word of `node exec`'s command
            sys.stdout.write(said.getvalue() or (_structure(fault) if wanted else ""))
        sys.stdout.flush()  # here, where a reader who has left is no fault
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _run(words: list[str]) -> tuple[int, FarmletError | None, argparse.Namespace | None]:
    """Run one verb: how it ends, what is to be told, and what was asked as far as it was understood."""
    verb, args = "farmlet", None
    try:
        at = _find_verb(words)
        if at is None:
            parser().parse_args(words)  # prints help or the version and ends, or raises the mistake
            return 2, None, args
        verb = f"farmlet {words[at]}"
        name = words.pop(at)
        signal.signal(signal.SIGTERM, _terminated)
        args = verb_parser(name).parse_args(words)
        return int(import_module(f"farmlet.cli.{name}").run(args)), None, args
    except SystemExit as end:  # of help and version
        return int(end.code or 0), None, args
    except KeyboardInterrupt:
        return 130, FarmletError(verb, "interrupted", "repeat it; what is done stays done"), args
    except BrokenPipeError:
        raise
    except FarmletError as error:
        return error.exit_code, error, args
    except ModuleNotFoundError as error:
        return 1, _find_missing(verb, error), args
    except Exception as error:  # of a library, or a mistake of ours: words first
        told = FarmletError(verb, f"{type(error).__name__}: {error}", f"{verb} -v shows where it happened")
        return 1, told.with_traceback(error.__traceback__), args


def _find_missing(verb: str, error: ModuleNotFoundError) -> FarmletError:
    """In words: members' own machines have the base distribution only."""
    what = f"needs the package {error.name}, which is not installed here: farmlet alone is for members' own machines"
    return FarmletError(verb, what, INSTALL).with_traceback(error.__traceback__)


def _find_verb(words: Sequence[str]) -> int | None:
    """Where the verb stands: the first word that is neither an option nor an option's value; None when it is no verb."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] == "--facility" else 1
    return index if index < len(words) and words[index] in VERBS else None


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(error: FarmletError, verbose: bool) -> None:
    if verbose:
        traceback.print_exception(error)
    for one in _list(error):
        print(f"{one.where}: {one.what}", file=sys.stderr)
        if one.hint:
            print(f"\n  hint: {one.hint}\n", file=sys.stderr)


def _structure(error: FarmletError | None) -> str:
    """The error as the JSON value of a command that has no other."""
    told = [{"where": one.where, "what": one.what, "hint": one.hint} for one in _list(error)] if error else []
    return json.dumps({"ok": not told, "errors": told}, indent=2) + "\n"


def _list(error: FarmletError) -> Sequence[FarmletError]:
    return error.errors if isinstance(error, Errors) else (error,)


if __name__ == "__main__":
    sys.exit(main())
