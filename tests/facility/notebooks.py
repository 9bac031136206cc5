"""Members who come to the Hub, for tests."""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request

from person import PASSWORD, Person
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub
from farmlet.demo.stage import Member


def join(sandbox: Sandbox, name: str, *groups: str) -> Person:
    person = Person.join(sandbox, name + secrets.token_hex(2), *groups or ("lab",))
    until(lambda: f'"{person.name}"' in sandbox.exec("head", "cat /etc/farmlet/notebooks/roster.json"), 60)
    return person


def enter(person: Person) -> Hub:
    return Hub(f"https://notebooks.{person.sandbox.domain}", person.browser, Member(person.name, PASSWORD))


def ask(person: Person, url: str, token: str) -> int:
    """HTTP status of a page; 0 while nobody answers."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    try:
        with person.browser._opener.open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return 0


def find_containers(sandbox: Sandbox, name: str) -> str:
    return sandbox.exec("head", f"docker ps --quiet --filter label=farmlet.member={name}")


def read(person: Person, url: str, token: str) -> str:
    """The text of a page."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
    with person.browser._opener.open(request, timeout=60) as answer:
        return str(answer.read().decode())
