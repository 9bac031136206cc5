"""What part accounts wants on nodes."""

from __future__ import annotations

import json
from collections.abc import Callable

from farmlet.parts.accounts.deploy import PART
from farmlet.parts.part import Context
from farmlet.parts.resources import File

MakeContext = Callable[..., Context]


def files(context: Context, role: str) -> dict[str, File]:
    return {item.path: item for item in PART.role(role).configure(context) if isinstance(item, File)}


def test_sssd_asks_the_directory_by_tls_and_takes_no_system_numbers(make_context: MakeContext) -> None:
    context = make_context("head", "identity: {first_uid: 25000, first_gid: 40000}\n")
    found = files(context, "client")["/etc/sssd/sssd.conf"]
    lines = str(found.content).splitlines()
    for line in ("ldap_uri = ldaps://service.farmlet.test", "ldap_tls_reqcert = hard", "min_id = 25000",
                 "ldap_search_base = dc=farmlet,dc=test", "access_provider = ldap"):  # fmt: skip
        assert line in lines
    assert found.mode == 0o640  # as sssd itself leaves it


def test_homes_are_made_where_members_log_in_only(make_context: MakeContext) -> None:
    path = "/etc/farmlet/agent.d/accounts.client.json"
    more = "accounts: {homes: /srv/homes}\n"
    duties = json.loads(str(files(make_context("head", more), "client")[path].content))
    assert duties["apply"]["accounts"]["args"] == {"homes": "/srv/homes", "first_uid": 20000}
    assert path not in files(make_context("service", more), "client")


def test_the_directory_lets_in_the_daemon_alone(make_context: MakeContext) -> None:
    text = str(files(make_context("service"), "directory")["/etc/ldap/farmlet.ldif"].content)
    assert "olcRootDN: gidNumber=@GID@+uidNumber=@UID@,cn=peercred" in text
    assert "olcRootPW" not in text
    assert "by * write" not in text
    assert "ldap:///" not in str(files(make_context("service"), "directory")["/etc/default/slapd"].content)


def test_the_daemon_gets_its_secret_from_systemd(make_context: MakeContext) -> None:
    found = files(make_context("service"), "daemon")
    unit = str(found["/etc/systemd/system/farmlet-accounts.service"].content)
    assert "LoadCredential=accounts-secret:" in unit
    assert "secret" not in str(found["/etc/farmlet/accounts.json"].content)
