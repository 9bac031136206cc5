"""A Grafana as a relying party, by the words that are written for its grafana.ini: who comes back has the role of their groups.

Grafana itself is not here: its part (code with PKCE and no nonce, userinfo, JMESPath) is done by its documentation.
"""

from __future__ import annotations

import shlex
from configparser import RawConfigParser

import jmespath
import pytest
from issuer import Service
from party import Party

from farmlet.facility.load import loads
from farmlet.parts.identity.deploy import PART as IDENTITY
from farmlet.parts.identity.deploy import PROGRAM
from farmlet.parts.monitoring.grafana import deploy
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import Command, File

pytestmark = [pytest.mark.service, pytest.mark.once]
TEXT = """\
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access]}
  service: {connect: fake, runs: [identity, accounts, monitoring]}
groups: {lab: {login: true}, lab/production: {}, guests: {}, board: {administer: true}}
monitoring: {grafana: {url: https://grafana.example.org, roles: {lab: Viewer, lab/production: Editor}}}
"""


@pytest.fixture(scope="module")
def context() -> Context:
    facility = loads(TEXT, "facility.yaml", find())
    return Context(facility, facility.nodes["service"], Trust("CA\n"), "0" * 64)


@pytest.fixture(scope="module")
def party(service: Service, context: Context) -> Party:
    """Registered by the very step of `farmlet up`."""
    steps = [one for one in IDENTITY.role("provider").configure(context) if one.label == "step client grafana"]
    assert isinstance(steps[0], Command)
    words = shlex.split(steps[0].run.removeprefix(PROGRAM))
    secret = service.folder / "grafana.secret"
    words[words.index("--secret-file") + 1] = str(secret)
    service.do(*words)
    return Party(service, "grafana", secret.read_text().strip(), context.section("monitoring").grafana.back)


@pytest.mark.parametrize(
    ("name", "group", "role"),
    [("gudula", "lab/production", "Editor"), ("gero", "lab", "Viewer"), ("gitta", "board", "Admin"), ("gunnar", "guests", None)],
)
def test_groups_are_roles(service: Service, context: Context, party: Party, name: str, group: str, role: str | None) -> None:
    (text,) = [one.data.decode() for one in deploy.configure(context, "") if isinstance(one, File) and one.path == deploy.INI]
    parser = RawConfigParser()
    parser.read_string(text)
    words = parser["auth.generic_oauth"]
    for key, endpoint in (("auth_url", "authorize"), ("token_url", "token"), ("api_url", "userinfo")):
        assert words[key] == f"{context.facility.issuer}/{endpoint}"
    browser, _ = service.join(name, group)
    back = party.ask(browser, scope=words["scopes"], nonce=None)
    tokens = party.redeem(back["code"])
    assert tokens.status == 200 and "refresh_token" not in tokens.body
    known = service.request("/userinfo", bearer=tokens.body["access_token"]).body
    assert jmespath.search(words["login_attribute_path"], known) == name
    assert jmespath.search(words["name_attribute_path"], known)
    # not everybody has an address, and Grafana lets nobody in without one
    assert jmespath.search(words["email_attribute_path"], known) == known.get("email", f"{name}@farmlet.test")
    assert (jmespath.search(words["role_attribute_path"], known) or None) == role
