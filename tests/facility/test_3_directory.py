"""Accounts in an existing directory as a node sees them: an OpenLDAP with entries of others, sssd of the node's image."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from sandbox import Sandbox

from farmlet.parts.accounts.deploy import PACKAGE
from farmlet.parts.render import render
from host import docker

sys.path.append(str(Path(__file__).parents[1] / "service" / "accounts"))
sys.path.append("/usr/lib/python3/dist-packages")  # python-ldap has no wheel
import ldap
import slapd
from test_sinks import ADA, BEN, EVE, MARK, OTHER, connect

pytestmark = [pytest.mark.facility, pytest.mark.timeout(120)]
# of another facility, whose name goes on where ours ends
STRANGER = {
    "objectClass": [b"account", b"posixAccount"],
    "uid": [b"zed"],
    "cn": [b"Zed"],
    "uidNumber": [b"29999"],
    "gidNumber": [b"29999"],
    "homeDirectory": [b"/home/zed"],
    "description": [f"{MARK}.uk sub-1".encode()],
}
ASK = """
install -m 600 /their/sssd.conf /etc/sssd/sssd.conf
install -m 644 /their/tls.crt /etc/ca.pem
sssd -i >/dev/null 2>&1 &
for turn in $(seq 60); do id ada >/dev/null 2>&1 && break; sleep 0.5; done
for name in ada ben eve bob old leader zed; do id "$name" 2>&1; done
getent group guests || echo no guests
sssctl user-checks -a acct -s sshd ben 2>&1 | grep denied
sssctl user-checks -a acct -s sshd eve 2>&1 | grep Success
true
"""


@pytest.mark.parametrize("start", [False, True])
def test_a_node_knows_our_members_of_an_existing_directory_and_nobody_else(running: Sandbox, start: bool) -> None:
    image = docker("inspect", "-f", "{{.Image}}", running.container("head"))
    with slapd.serve(existing=True) as theirs:
        connect(theirs).sync((ADA, replace(BEN, state="suspended"), EVE))
        connection = ldap.initialize(theirs.plain)
        connection.simple_bind_s(slapd.BIND, slapd.SECRET)
        connection.add_s("uid=zed,ou=people,dc=example,dc=org", list(STRANGER.items()))
        connection.unbind_s()
        said = ask(theirs, image, start)
    assert "uid=20010(ada) gid=20010(ada) groups=20010(ada),30000(lab)" in said
    assert "uid=20012(eve) gid=20012(eve) groups=20012(eve),30000(lab),30001(lab-production)" in said
    assert "uid=20011(ben) gid=20011(ben) groups=20011(ben)" in said
    for name in ("bob", "old", "leader", "zed"):
        assert f"id: '{name}': no such user" in said
    assert "no guests" in said
    assert any("does not allow log-in" in line for line in said) and any("Success" in line for line in said), said


def ask(theirs: slapd.Running, image: str, start: bool) -> list[str]:
    """What a node with the configuration of part accounts answers."""
    people, groups = OTHER.people, OTHER.groups
    existing = SimpleNamespace(people=people, groups=groups, starts=start)
    url, ca = theirs.plain if start else theirs.uri, "/etc/ca.pem"
    names = {"domain": "af.example.org", "mark": MARK, "base": "", "minimum": 20000}
    (theirs.folder / "sssd.conf").write_text(render(PACKAGE, "sssd.conf", url=url, existing=existing, ca=ca, **names))
    # by the host's own loopback, where the server is
    options = ["--rm", "--network", "host", "--volume", f"{theirs.folder}:/their:ro", "--entrypoint", "sh"]
    return docker("run", *options, image, "-c", ASK).splitlines()
