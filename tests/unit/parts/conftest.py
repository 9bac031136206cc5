"""A small facility, loaded as `farmlet` loads one, for the tests of single parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from farmlet.facility.load import loads
from farmlet.parts.access.deploy import PART as ACCESS
from farmlet.parts.accounts.deploy import PART as ACCOUNTS
from farmlet.parts.base.deploy import PART as BASE
from farmlet.parts.identity.deploy import PART as IDENTITY
from farmlet.parts.part import Context, Trust

CATALOG = {part.name: part for part in (BASE, IDENTITY, ACCOUNTS, ACCESS)}
TEXT = """
farmlet: 1
facility: {name: lab, title: Example, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access]}
  service: {connect: fake, runs: [identity, accounts]}
groups:
  lab: {login: true, storage: {read: [/], write: ["/users/{user}"]}}
  lab/production: {storage: {write: [/data]}}
  guests: {}
"""

MakeContext = Callable[..., Context]


@pytest.fixture
def make_context() -> MakeContext:
    """A context for a node of the facility in TEXT followed by `more` lines.

    `nodes`: lines of more nodes; `head`, `service`: what those nodes run; `connect`: how nodes are reached.
    """

    def make(
        node: str,
        more: str = "",
        nodes: str = "",
        head: str = "access",
        connect: str = "fake",
        service: str = "identity, accounts",
    ) -> Context:
        text = TEXT.replace("[access]", f"[{head}]").replace("groups:", f"{nodes}groups:", 1)
        text = text.replace("[identity, accounts]", f"[{service}]")
        facility = loads(text.replace("connect: fake", f"connect: {connect}") + more, "facility.yaml", CATALOG)
        logins = {
            audience: words
            for name, part in CATALOG.items()
            for role in part.roles
            for host in facility.hosts(f"{name}.{role.name}")
            for audience, words in role.logins(facility, host).items()
        }
        return Context(facility, facility.nodes[node], Trust("-----BEGIN CERTIFICATE-----\nown\n"), "0" * 64, logins)

    return make
