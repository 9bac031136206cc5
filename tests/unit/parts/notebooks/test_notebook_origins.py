"""An origin for each member: what the line in the file changes, and that nothing changes without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jupyterhub.utils import subdomain_hook_idna
from test_notebooks_deploy import TEXT, configure, load, read
from traitlets.config import Config

from farmlet.cli.validate import list_names
from farmlet.parts import part
from farmlet.parts.notebooks.hub import configuration
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Certificate

SHARING = "notebooks: {sharing: true}\n"
MANY = "*.notebooks.af.test"


@pytest.mark.parametrize("more", ["", SHARING], ids=["without", "with"])
def test_names_certificate_and_proxies(more: str) -> None:
    facility = load(more)
    head = facility.nodes["head"]
    (certificate,) = [one for one in configure("base.proxy", "head", more) if isinstance(one, Certificate)]
    assert certificate.names == (*head.names, *([MANY] if more else [])) and MANY not in head.names
    renewable = json.loads(read(configure("base.renewal", "service", more), "renewal.json"))["nodes"]["head.af.test"]
    assert renewable == list(certificate.names)
    text = read(configure("base.proxy", "head", more), "Caddyfile")
    _, _, members = text.partition(f"https://{MANY} {{")
    assert ("handle /user/*" in members and "redir https://notebooks.af.test{uri}" in members) is bool(more)
    assert ("http.request.cookie" in text) is not bool(more), "whose browser it is shows by its origin"
    assert ("--host-routing" in read(configure("notebooks.hub", "head", more), "notebooks-proxy.service")) is bool(more)


def test_hosts_are_told_of_the_wildcard_and_it_is_checked_there() -> None:
    for connect, found in (("container", False), ("{connect: ssh, address: 192.0.2.7, ", True)):
        text = f"{{connect: {connect}, " if not found else connect
        facility = load(SHARING, TEXT.replace("{connect: fake, ", text, 1))
        context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
        checks = {one.name: one.args for one in part.find()["notebooks"].role("hub").checks(context)}
        assert checks.get("notebooks.wildcard") == ({"url": "https://any.notebooks.af.test"} if found else None)
        assert any(MANY in names for names in list_names(facility).values()) is found


def test_with_units_of_systemd_no_two_checks_have_one_name() -> None:
    facility = load(
        "notebooks: {sharing: true, spawner: systemd}\n",
        TEXT.replace("{connect: fake, ", "{connect: ssh, address: 192.0.2.7, ", 1),
    )
    context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
    names = [one.name for one in part.find()["notebooks"].role("hub").checks(context)]
    assert {"notebooks.names", "notebooks.wildcard"} <= {*names} and len(names) == len({*names})


@pytest.mark.parametrize("more", ["", SHARING], ids=["without", "with"])
def test_the_hub_of_either_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    for name in ("client", "cookie", "proxy"):
        (tmp_path / name).write_text("ab" * 32)
    text = json.loads(read(configure("notebooks.hub", "head", more), "settings.json")) | {"state": str(tmp_path)}
    (tmp_path / "settings.json").write_text(json.dumps(text))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(configuration.oauth2, "STATE_COOKIE_NAME", "oauthenticator-state")
    config = Config()
    configuration.configure(config, str(tmp_path / "settings.json"))
    assert [path for path, _ in config.JupyterHub.extra_handlers] == (["/share"] if more else ["/claim/.*"])
    assert config.JupyterHub.get("subdomain_host") == ("https://notebooks.af.test" if more else None)
    assert config.JupyterHub.get("extra_user_scopes") == (["shares!user"] if more else None)
    assert configuration.oauth2.STATE_COOKIE_NAME.startswith("__Host-") is bool(more)
    assert config.Entrance.auth_refresh_strict is bool(more)


ODD = (
    "a",
    "a-b",
    "a_b",
    "ab_",
    "a-",
    "a--b",
    "a-b-",
    "xn--a",
    "xn--nora",
    "u-nora--a39b2f1",
    "nora",
    "no_ra",
    "n" * 31,
    "a_" * 15,
)


def test_odd_names_have_names_of_hosts_of_their_own() -> None:
    hosts = {name: subdomain_hook_idna(name, "notebooks.af.test", "user") for name in ODD}
    assert len({*hosts.values()}) == len(hosts)
    for name, host in hosts.items():
        label, _, rest = host.partition(".")
        assert rest == "notebooks.af.test" and len(label) <= 63 and label == label.lower(), (name, host)
        assert not label.startswith("xn--") and "_" not in label and label.strip("-") == label, (name, host)
    assert hosts["nora"] == "nora.notebooks.af.test" and hosts["a-b"] == "a-b.notebooks.af.test"
