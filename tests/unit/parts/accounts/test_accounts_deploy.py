"""What part accounts wants on nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts import checks
from farmlet.parts.accounts.deploy import PART, PASSWORD, PLACE, daemon
from farmlet.parts.part import Context
from farmlet.parts.resources import Command, File, Unit
from farmlet.runtime.checks import Failed

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
    more = "accounts: {homes: /srv/homes, keep_days: 7}\n"
    context = make_context("head", more)
    assert "accounts.homes" in context.node.roles and "accounts.homes" not in make_context("service", more).node.roles
    found = files(context, "homes")
    folder = "/etc/farmlet/agent.d"
    tasks = json.loads(str(found[f"{folder}/accounts.homes.json"].content))["apply"]["accounts"]
    places = {"homes": "/srv/homes", "scratch": "/scratch", "first_uid": 20000, "first_gid": 20000}
    assert tasks == {"call": "farmlet.parts.accounts.homes.homes:apply", "args": places | {"node": "head", "logins": True}}
    keeping = json.loads(str(found[f"{folder}/accounts.keeping.json"].content))["apply"]["accounts"]
    assert keeping["args"] == places | {"days": 7} and keeping["again"] is True


def test_what_runs_for_those_who_left_is_ended_on_every_node(make_context: MakeContext) -> None:
    path = "/etc/farmlet/agent.d/accounts.deprovisioning.json"
    for node in ("head", "service"):
        task = json.loads(str(files(make_context(node), "client")[path].content))["apply"]["accounts"]
        assert task == {"call": "farmlet.parts.accounts.deprovision.processes:apply", "args": {"first_uid": 20000}, "again": True}


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


EXTERNAL = "identity: {issuer: https://iam.example.org/, client: reader, group_prefix: vo, first_uid: 25000}\n"


def test_with_an_external_issuer_the_daemon_reads_that_and_the_secret_is_no_part_of_anything(make_context: MakeContext) -> None:
    context = make_context("service", EXTERNAL)
    found = files(context, "daemon")
    config = json.loads(str(found["/etc/farmlet/accounts.json"].content))
    source = config["source"]
    assert (source["issuer"], source["client"], source["prefix"]) == ("https://iam.example.org/", "reader", "vo")
    assert (config["first_uid"], source["secret"]) == (25000, PLACE)
    assert PLACE not in found  # `up` neither knows nor overwrites it
    step = next(item for item in PART.role("daemon").configure(context) if isinstance(item, Command))
    assert "chmod 640" in step.run and "640" in step.unless
    assert "LoadCredential" not in str(daemon(context.facility).file.content)
    assert "accounts.daemon.secret" in {check.name for check in PART.role("daemon").checks(context)}
    plain = make_context("service")
    assert "accounts.daemon.secret" not in {check.name for check in PART.role("daemon").checks(plain)}
    assert json.loads(str(files(plain, "daemon")["/etc/farmlet/accounts.json"].content))["source"] == {
        "issuer": "https://service.farmlet.test",
        "client": "accounts",
    }


def test_the_checks_of_an_external_issuer(tmp_path: Path) -> None:
    secret, record = tmp_path / "secret", tmp_path / "members.json"
    client = {"user": "root", "client": "reader", "issuer": "https://iam.example.org/"}
    for content in (None, "", "\n"):
        if content is not None:
            secret.write_text(content)
        with pytest.raises(Failed, match=r"put the secret of the client reader of .* there"):
            checks.check_secret(str(secret), **client)
    secret.write_text("hidden")
    secret.chmod(0o644)
    with pytest.raises(Failed, match="chmod 640"):
        checks.check_secret(str(secret), **client)
    secret.chmod(0o640)
    if secret.group() == "root":
        assert "hidden" not in checks.check_secret(str(secret), **client)
    with pytest.raises(Failed, match="no members were read yet"):
        checks.check_record(str(record), 180)
    record.write_text(json.dumps({"at": 0, "issuer": "https://iam.example.org/", "members": []}))
    with pytest.raises(Failed, match="was last read"):
        checks.check_record(str(record), 180)


LDAP = """
accounts:
  ldap:
    url: ldaps://ldap.example.org
    people: ou=People,dc=example,dc=org
    groups: ou=groups,dc=example,dc=org
    bind: cn=f,dc=example
"""


def test_an_existing_directory_is_asked_for_our_entries_alone(make_context: MakeContext) -> None:
    lines = str(files(make_context("head", LDAP), "client")["/etc/sssd/sssd.conf"].content).splitlines()
    for line in (
        "ldap_uri = ldaps://ldap.example.org",
        "ldap_user_search_base = ou=People,dc=example,dc=org?subtree?(description=farmlet@farmlet.test\\20*)",
        "ldap_group_search_base = ou=groups,dc=example,dc=org?subtree?(description=farmlet@farmlet.test)",
        "ldap_tls_cacert = /etc/ssl/certs/ca-certificates.crt",
        "ldap_tls_reqcert = hard",
        "min_id = 20000",
    ):
        assert line in lines
    assert "ldap_id_use_start_tls = true" not in lines
    plain = make_context("head", LDAP.replace("ldaps:", "ldap:"))
    assert "ldap_id_use_start_tls = true" in str(files(plain, "client")["/etc/sssd/sssd.conf"].content).splitlines()
    check = next(check for check in PART.role("client").checks(plain) if check.name == "accounts.client.directory")
    assert check.args["port"] == 389 and check.args["start"] is True


def test_with_an_existing_directory_ours_is_stopped_and_the_password_is_no_part_of_anything(make_context: MakeContext) -> None:
    context = make_context("service", LDAP)
    assert list(PART.role("directory").configure(context)) == [Unit("slapd.service", running=False)]
    assert not PART.role("directory").checks(context)
    found = files(context, "daemon")
    config = json.loads(str(found["/etc/farmlet/accounts.json"].content))
    assert config["server"] == {"uri": "ldaps://ldap.example.org", "bind": "cn=f,dc=example", "password": PASSWORD, "ca": ""}
    assert (config["base"], config["mark"]) == ("", "farmlet@farmlet.test")
    assert PASSWORD not in found
    step = next(item for item in PART.role("daemon").configure(context) if isinstance(item, Command))
    assert PASSWORD in step.run and "chmod 640" in step.run
    assert "accounts.daemon.password" in {check.name for check in PART.role("daemon").checks(context)}


@pytest.mark.parametrize(
    "line",
    [
        'url: "ldap.example.org"',
        'url: "ldaps://user:secret@ldap.example.org"',
        'url: "ldapi:///"',
        'people: "ou=a)(uid=*"',
        'people: "people"',
        'bind: "cn=a\\nldap_tls_reqcert = never"',
        'ca: "/etc/ssl/x.pem"',
        "password: hunter2",
    ],
)
def test_what_an_existing_directory_cannot_be(make_context: MakeContext, line: str) -> None:
    entry = {"url": '"ldaps://l.example.org"', "people": '"ou=a"', "groups": '"ou=b"', "bind": '"cn=c"'}
    make_context("head", f"accounts: {{ldap: {{{', '.join(f'{key}: {value}' for key, value in entry.items())}}}}}\n")
    key, _, value = line.partition(": ")
    entry[key] = value
    with pytest.raises(FarmletError):
        make_context("head", f"accounts: {{ldap: {{{', '.join(f'{key}: {value}' for key, value in entry.items())}}}}}\n")
