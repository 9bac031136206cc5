"""What part access wants on nodes: above all, who may log in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.errors import Errors
from farmlet.parts.access import sshd
from farmlet.parts.access.authority import known_hosts
from farmlet.parts.access.checks import check_link_local
from farmlet.parts.access.deploy import ASKER, PART, login_groups
from farmlet.parts.access.login.about import parse
from farmlet.parts.part import Context
from farmlet.parts.resources import Command, File, KeyPair, Packages, Unit
from farmlet.runtime.checks import Failed

MakeContext = Callable[..., Context]


def files(context: Context, role: str) -> dict[str, str]:
    return {item.path: str(item.content) for item in PART.role(role).configure(context) if isinstance(item, File)}


def test_groups_with_login_and_what_lies_below_them_log_in(make_context: MakeContext) -> None:
    assert login_groups(make_context("head").facility) == ["lab", "lab-production"]


def test_the_tools_of_every_day_are_there_and_those_of_the_file(make_context: MakeContext) -> None:
    names = {name for item in PART.role("login").install() if isinstance(item, Packages) for name in item.names}
    assert {"git", "vim", "nano", "emacs-nox", "less", "man-db", "make", "cmake", "wget", "file", "unzip", "jq"} <= names
    assert {"python3-pip", "python3-venv", "cron", "locales-all"} <= names
    context = make_context("head", "access: {packages: [texlive-base, g++-14]}\n")
    assert Packages(("g++-14", "texlive-base")) in PART.role("login").configure(context)
    assert not [item for item in PART.role("login").configure(make_context("head")) if isinstance(item, Packages)]


@pytest.mark.parametrize("name", ["", "-y", "git;id", "Git", "a b", "x=1"])
def test_a_package_is_a_name(make_context: MakeContext, name: str) -> None:
    with pytest.raises(Errors, match="no name of a Debian package"):
        make_context("head", f"access: {{packages: ['{name}']}}\n")


def test_without_any_such_group_nobody_but_administrators_logs_in(make_context: MakeContext) -> None:
    context = make_context("head")
    groups = {path: group.model_copy(update={"login": False}) for path, group in context.facility.groups.items()}
    assert login_groups(context.facility.model_copy(update={"groups": groups})) == ["root"]


def test_members_need_certificates_and_administrators_keep_their_keys(make_context: MakeContext) -> None:
    text = files(make_context("head", "access: {local_admins: [operator1]}\n"), "login")[sshd.WANTED]
    members, admins = text.split("Match User ")
    assert "AllowGroups lab lab-production\n" in members
    assert "AuthorizedKeysFile none\n" in members
    assert "PasswordAuthentication no\n" in members
    assert admins.startswith("operator1,root\n")
    assert "AuthorizedKeysFile .ssh/authorized_keys\n" in admins
    assert "TrustedUserCAKeys none\n" in admins


def test_what_the_node_publishes_is_what_the_authority_watches(make_context: MakeContext) -> None:
    tasks = json.loads(files(make_context("head"), "host")["/etc/farmlet/agent.d/access.host.json"])
    assert tasks["publish"] == {"ssh-host-key": "/etc/ssh/ssh_host_ed25519_key.pub"} and set(tasks["deliver"]) == {
        "ssh-host-cert"
    }
    tasks = json.loads(files(make_context("head"), "login")["/etc/farmlet/agent.d/access.login.json"])
    assert tasks == {"deliver": {"ssh-user-ca.pub": {"path": "/etc/ssh/farmlet_user_ca.pub", "mode": "0644"}}}
    found = files(make_context("service"), "authority")
    assert "PathChanged=/var/lib/farmlet/control/inbox/head\n" in found["/etc/systemd/system/farmlet-hostcerts.path"]
    assert json.loads(found["/etc/farmlet/ssh.json"])["hours"] == 12


def test_a_node_without_log_in_takes_keys_only_and_shows_a_certificate_of_the_facility(make_context: MakeContext) -> None:
    text = files(make_context("service"), "host")[sshd.WANTED]
    assert {"PasswordAuthentication no", "KbdInteractiveAuthentication no", "X11Forwarding no"} <= set(text.splitlines())
    assert "HostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n" in text and "TrustedUserCAKeys" not in text
    assert sshd.WANTED not in files(make_context("head"), "host"), "where members log in, that role writes it"


def test_the_private_keys_belong_to_the_authority(make_context: MakeContext) -> None:
    pairs = [item for item in PART.role("authority").configure(make_context("service")) if isinstance(item, KeyPair)]
    assert {(pair.path.rsplit("/", 1)[1], pair.owner) for pair in pairs} == {
        ("user_ca", "farmlet-ssh"),
        ("host_ca", "farmlet-ssh"),
    }


def test_what_login_is_told_is_what_login_takes(make_context: MakeContext) -> None:
    context = make_context("service")
    config = json.loads(files(context, "authority")["/etc/farmlet/ssh.json"])
    domain = config["domain"]
    own = {"domain": domain, "hours": config["hours"], "authority": known_hosts(domain, "ssh-ed25519 AAAA").strip()}
    found = parse(config["about"] | own, f"https://service.{domain}")
    assert (found.client, found.nodes) == ("farmlet", (f"head.{domain}",)) and "storage.read:/" in found.scope


@pytest.mark.parametrize("name", ["jane doe", "*", "!ada", "a,b", "", "ada\n", "-ada", "x" * 33])
def test_a_local_admin_has_a_unix_name(make_context: MakeContext, name: str) -> None:
    with pytest.raises(Errors, match=r"access\.local_admins\.1: .* is no UNIX name"):
        make_context("head", f"access: {{local_admins: [debian, {json.dumps(name)}]}}\n")


def test_admins_of_hosts_may_have_names_that_no_member_has(make_context: MakeContext) -> None:
    text = files(make_context("head", "access: {local_admins: [_ops, J.Doe-2]}\n"), "login")[sshd.WANTED]
    assert "Match User J.Doe-2,_ops,root\n" in text


def test_sshd_reads_its_settings_before_they_are_in_force(make_context: MakeContext) -> None:
    found = [*PART.role("login").configure(make_context("head"))]
    step = next(item for item in found if isinstance(item, Command) and sshd.SETTINGS in item.run)
    assert not [item for item in found if isinstance(item, File) and item.path == sshd.SETTINGS]
    read, moved = step.run.index(f"sshd -t -f {sshd.WANTED}"), step.run.index(f" {sshd.SETTINGS}\n")
    wanted = next(item for item in found if isinstance(item, File) and item.path == sshd.WANTED)
    assert read < moved and found.index(wanted) < found.index(step) < found.index(Unit("ssh.service", reload=True))


def test_at_an_external_issuer_whoever_logs_in_is_asked_for_before_they_are_in(make_context: MakeContext) -> None:
    ours, theirs = (files(make_context("head", more), "login") for more in ("", "identity: {issuer: https://iam.example.org/}\n"))
    assert ASKER not in ours and "pam_exec" not in ours["/etc/pam.d/sshd"]
    assert (
        "account [success=1 default=ignore] pam_succeed_if.so quiet uid < 20000\n"
        f"account required pam_exec.so quiet stdout {ASKER}\n" in theirs["/etc/pam.d/sshd"]
    )
    assert " https://service.farmlet.test/accounts/login\n" in theirs[ASKER]


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("echo RTNETLINK answers: Permission denied >&2; exit 2", ""),
        ("echo 169.254.169.254 via 10.0.0.1 dev eth0 uid $5", "members reach 169.254.169.254: .* uid 20000"),
        ("echo RTNETLINK answers: Network is unreachable >&2; exit 2", "Network is unreachable"),
    ],
    ids=["prohibited", "a way", "no rule"],
)
def test_members_have_no_way_to_what_a_cloud_tells_its_machine(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, fault: str
) -> None:
    (tmp_path / "ip").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    context = make_context("head")
    (check,) = [one for one in PART.role("login").checks(context) if one.name == "access.login.linklocal"]
    if fault:
        with pytest.raises(Failed, match=fault):
            check_link_local(**check.args)
    else:
        assert check_link_local(**check.args) == "members have no way to 169.254.169.254"
    text = files(context, "login")["/etc/systemd/system/farmlet-linklocal.service"]
    assert "ip rule add pref 880 to 169.254.0.0/16 uidrange 20000-4294967294 prohibit\n" in text
