"""A member's credential for jobs and log-in sessions: asked for on the terminal, kept by HTCondor. Standard library only.

condor_submit runs this as SEC_CREDENTIAL_STORER for jobs with `use_oauth_services`, with a word for each service and handle:
`SERVICE[&handle=NAME][&scopes=A,B][&audience=URL]`. Where the member has no credential yet, the device flow (RFC 8628) asks for
their consent, once; the refresh token goes to condor_credd on standard input and lies nowhere else. A handle is a narrower token
out of the same credential: nobody is asked for it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.parts.tokens.credential import SERVICE, split
from farmlet.parts.tokens.sessions import NOTICE
from farmlet.runtime import oauth
from farmlet.runtime.issuer import screen

CONFIG = Path("/etc/farmlet/credential.json")
STORE = "/usr/sbin/condor_store_cred"
SECONDS = 30  # for one answer of condor_credd
PATIENCE = 20.0  # seconds for the first token
THERE, ABSENT, OTHER = 0, 1, 2  # what condor_store_cred's query exits with


@dataclass(frozen=True)
class Config:
    """`service` is the one of this facility, `issuer`, `client` and `scope` are what its credential is asked with.

    `places`: where log-in sessions find their tokens, and word of what is wrong with them (`sessions`).
    """

    service: str
    issuer: str
    client: str
    scope: str
    places: str = ""

    @classmethod
    def load(cls, path: Path) -> Config:
        """Raises FarmletError."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise FarmletError(str(path), f"cannot be read: {error}", "tell the administrators") from error


@dataclass(frozen=True)
class Request:
    """A token that a job wants: `options` narrow it, as condor_store_cred takes them."""

    service: str
    handle: str = ""
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, word: str) -> Request:
        """Raises InputError."""
        service, *parts = word.split("&")
        given = dict(part.partition("=")[::2] for part in parts)
        options = [(flag, ",".join(split(given.get(name, "")))) for name, flag in (("scopes", "-S"), ("audience", "-A"))]
        found = cls(service, given.get("handle", ""), tuple(text for flag, value in options if value for text in (flag, value)))
        if not SERVICE.fullmatch(found.name):
            raise InputError(found.name, "is no name of a service", "letters, digits and . + = _ -")
        if found.options and not found.handle:
            hint = f"name it, e.g. {service}_oauth_permissions_NAME: the job's token is then {service}_NAME.use"
            raise InputError(service, "is the same for all your jobs; a narrower token needs a name of its own", hint)
        return found

    @property
    def name(self) -> str:
        """Of the files."""
        return f"{self.service}_{self.handle}" if self.handle else self.service


def ensure(request: Request, config: Config, wait: bool) -> None:
    """See to it that there is a credential for the request. Raises FarmletError."""
    if request.service != config.service:
        if query(request) == THERE:
            return
        hint = f"condor_store_cred add-oauth -s {request.name} -i FILE"
        raise InputError(request.name, f"is not of this facility ({config.service}), and you stored no credential for it", hint)
    tell(config)
    if query(Request(config.service)) != THERE:
        ask(config, wait)
    if not request.handle or (found := query(request)) == THERE:
        return
    if found == OTHER and (jobs := find_jobs(request)):
        what = f"means other permissions in your jobs {', '.join(jobs[:5])}"
        raise InputError(request.handle, what, "choose another name, or wait for their end")
    if found == OTHER:  # no job should start with the token of what it was before
        run("delete-oauth", "-s", request.name)
    store(request, {"of": config.service})
    await_token(request)


def tell(config: Config) -> None:
    """What became of the credential that there was, or what it waits for."""
    try:
        words = (Path(config.places) / pwd.getpwuid(os.getuid()).pw_name / NOTICE).read_text()
    except (OSError, KeyError):
        return
    print(f"\n{config.service}: {words}", file=sys.stderr)


def ask(config: Config, wait: bool) -> None:
    """Have the member allow it in a browser, and store what comes of it. Nothing is left if they do not. Raises FarmletError."""
    if not (wait or sys.stderr.isatty()):
        what = "you have no credential for jobs and sessions here yet, and this is no terminal to ask you on"
        raise InputError(config.service, what, "once, on a terminal: farmlet-credential")
    flow = oauth.DeviceFlow(config.issuer, config.client)
    started = flow.start(f"offline_access {config.scope}")
    print("\nYour jobs and sessions here need your consent to use storage in your name, once.", file=sys.stderr)
    screen.show(started, qr=True)
    try:
        tokens = flow.wait(started, screen.countdown(started))
    finally:
        screen.clear()
    keep(config, tokens.refresh_token)


def keep(config: Config, token: str) -> None:
    """Store a refresh token; if that does not succeed it is ended at its issuer. Raises FarmletError."""
    if not token:
        raise FarmletError(config.issuer, "gave no refresh token, so nothing could be renewed", "tell the administrators")
    request = Request(config.service)
    try:
        store(request, {"issuer": config.issuer, "client_id": config.client, "refresh_token": token})
    except BaseException:
        with contextlib.suppress(FarmletError):
            oauth.revoke(config.issuer, config.client, token)
        raise
    await_token(request)


def store(request: Request, value: dict[str, str]) -> None:
    """Hand a credential to condor_credd, on standard input. Raises FarmletError."""
    done = run("add-oauth", "-s", request.name, *request.options, "-i", "-", given=json.dumps(value))
    if done.returncode:
        raise FarmletError("condor_store_cred", (done.stderr or done.stdout).strip()[-300:], "is HTCondor running here?")


def await_token(request: Request) -> None:
    """Wait until the monitor has made the first token. Raises FarmletError where the issuer refuses it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = run("query-oauth", "-s", request.name, *request.options)
        if done.returncode == ABSENT:
            what = f"the issuer refuses a token for that: {' '.join(request.options[1::2]) or 'your rights to storage'}"
            raise FarmletError(request.name, what, "ask for what your groups may have, of an element of this facility")
        # the age of the token, by its name
        if re.search(rf"^{re.escape(request.name)} = ", done.stdout, re.MULTILINE):
            return
        time.sleep(0.2)
    print(f"{request.name}: the issuer does not answer just now; jobs get their token once it does", file=sys.stderr)


def query(request: Request) -> int:
    """THERE, ABSENT or OTHER. Raises FarmletError."""
    done = run("query-oauth", "-s", request.name, *request.options)
    if done.returncode not in (THERE, ABSENT, OTHER):
        raise FarmletError("condor_store_cred", (done.stderr or done.stdout).strip()[-300:], "is HTCondor running here?")
    return done.returncode


def find_jobs(request: Request) -> list[str]:
    """One's own jobs that use the request's handle."""
    need = f'stringListIMember("{request.service}*{request.handle}", OAuthServicesNeeded)'
    done = subprocess.run(["condor_q", "-constraint", need, "-af", "ClusterId"], capture_output=True, text=True, timeout=SECONDS)
    return sorted(set(done.stdout.split()))


def run(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([STORE, *words], input=given, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FarmletError("condor_store_cred", str(error), "is HTCondor running here?") from error


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-credential", description="A credential for your jobs and sessions here.")
    parser.add_argument("service", nargs="*", help="what jobs ask for, as condor_submit says it")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="ask even where there is no terminal")
    how.add_argument("--stdin", action="store_true", help="take a refresh token from standard input instead of asking")
    how.add_argument("--anew", action="store_true", help="ask although there is one, where the facility wants consent to more")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    try:
        config = Config.load(CONFIG)
        if options.stdin:
            keep(config, sys.stdin.readline().strip())
        if options.anew:
            ask(config, options.wait)
        for word in options.service or [config.service]:
            ensure(Request.parse(word), config, options.wait)
        if not options.service:
            print("Your jobs and sessions here have a credential. To take it back:", file=sys.stderr)
            print(f"  condor_store_cred delete-oauth -s {config.service}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nnothing was stored", file=sys.stderr)
        return 130
    except FarmletError as error:
        # condor_submit leaves the cursor in the middle of a line
        print(f"\n{error}", file=sys.stderr)
        if options.service:
            print("(condor_submit ends with a line of its own, BAILING OUT, that says no more than this.)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
