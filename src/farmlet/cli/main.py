"""`farmlet VERB`: finds the verb, runs it, tells what went wrong. Exit 0 well, 1 failed, 2 your input, 3 would change."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from farmlet import __version__
from farmlet.cli.options import add_common, add_output
from farmlet.errors import Errors, FarmletError

VERBS = {
    "init": "write a facility file to start from",
    "validate": "check the facility file; every error at once",
    "plan": "show what `up` would change (exit 3 when something would)",
    "up": "make the facility as its file says; safe to repeat",
    "status": "what runs, as its nodes last reported",
    "check": "run the checks now",
    "demo": "a new member's first analysis, from registration to a fitted Z peak",
    "user": "members: add, list, approve, suspend, remove, their groups and ends; service members",
    "token": "break-glass: a token as a member, audited",
    "node": "nodes: list, drain, remove, exec",
    "sitetest": "tests of the sites: list, run, show; close a site to new drones",
    "explain": "what a member may do, and which line of the file says so",
    "rotate": "new keys: issuer [--now], ca",
    "login": "a member's own machine: token, SSH certificate, and what ssh needs to use it",
    "logout": "end a log-in and remove what it made on this machine",
    "logs": "the newest log lines of all nodes",
    "down": "stop the facility; --purge removes all that `up` made",
}
OWN = ("login", "logout")  # what members do on machines of their own, where no facility file is
EPILOG = "Docs: docs/ in the repository. Start with `farmlet up`, then `farmlet demo`."


def parser() -> argparse.ArgumentParser:
    """The whole command line; a verb's module is imported only when it is asked for."""
    top = argparse.ArgumentParser(
        prog="farmlet", description="One file and one or two machines: an analysis facility.", epilog=EPILOG
    )
    top.add_argument("--version", action="version", version=f"farmlet {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, text in VERBS.items():
        verbs.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".", add_help=False)
    return top


def verb_parser(verb: str) -> argparse.ArgumentParser:
    text = VERBS[verb]
    found = argparse.ArgumentParser(prog=f"farmlet {verb}", description=text[0].upper() + text[1:] + ".")
    (add_output if verb in OWN else add_common)(found)
    import_module(f"farmlet.cli.{verb}").add(found)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the process's exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    at = _find_verb(words)
    if at is None:
        parser().parse_args(words)  # prints help, the version or the mistake, and exits
        return 2
    verb = words.pop(at)
    signal.signal(signal.SIGTERM, _terminated)
    args = verb_parser(verb).parse_args(words)
    try:
        code = int(import_module(f"farmlet.cli.{verb}").run(args))
        sys.stdout.flush()  # here, where a reader who has left is no fault
        return code
    except KeyboardInterrupt:
        print(f"\nfarmlet {verb}: interrupted\nhint: repeat it; what is done stays done", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except FarmletError as error:
        return _tell(error, args.verbose)
    except Exception as error:  # of a library, or a mistake of ours: words first
        told = FarmletError(f"farmlet {verb}", f"{type(error).__name__}: {error}", f"farmlet {verb} -v shows where it happened")
        return _tell(told.with_traceback(error.__traceback__), args.verbose)


def _find_verb(words: Sequence[str]) -> int | None:
    """Where the verb stands: the first word that is neither an option nor an option's value; None when it is no verb."""
    index = 0
    while index < len(words) and words[index].startswith("-"):
        index += 2 if words[index] == "--facility" else 1
    return index if index < len(words) and words[index] in VERBS else None


def _terminated(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tell(error: FarmletError, verbose: bool) -> int:
    if verbose:
        traceback.print_exception(error)
    for one in error.errors if isinstance(error, Errors) else (error,):
        print(f"{one.where}: {one.what}", file=sys.stderr)
        if one.hint:
            print(f"\n  hint: {one.hint}\n", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
