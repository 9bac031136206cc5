"""What part base wants on nodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farmlet.facility.model import Route
from farmlet.parts import units
from farmlet.parts.base.deploy import LOCAL_CA, PACKAGE, PART, Origin, find_origins
from farmlet.parts.part import Context
from farmlet.parts.render import render
from farmlet.parts.resources import Certificate, Directory, File

ROOT = Path(__file__).parents[4]
MakeContext = Callable[..., Context]


def files(context: Context, role: str) -> dict[str, str]:
    return {item.path: str(item.content) for item in PART.role(role).configure(context) if isinstance(item, File)}


def test_the_reverse_proxy_knows_the_nodes_and_what_runs(make_context: MakeContext) -> None:
    text = files(make_context("service"), "proxy")["/etc/caddy/Caddyfile"]
    assert 'vars {tls_client_subject} "CN=head.farmlet.test" "CN=service.farmlet.test"\n' in text
    assert text.index("request_header -X-Farmlet-Node") < text.index("path /node/*")
    assert "path /ssh/*\n" in text and "motley" not in text
    assert f"{units.SOCKETS}/identity.sock" in text
    assert "admin unix//" in text


@pytest.mark.parametrize("node", ["service", "head"])
def test_the_proxy_closes_idle_connections_before_the_services_do(make_context: MakeContext, node: str) -> None:
    """Else now and then a request goes into one that is being closed, and its client gets an error 502."""
    text = files(make_context(node), "proxy")["/etc/caddy/Caddyfile"]
    assert text.count("reverse_proxy ") == text.count("import service\n") >= 1
    kept = int(text.split("keepalive ")[1].split("s\n")[0])
    unit = str(units.Web("some", "some", "a service", "nobody", "some:app").service.file.content)
    assert kept < int(unit.split("--keep-alive ")[1].split(" ")[0])


def test_a_log_in_nodes_proxy_opens_what_clients_of_motley_cue_need_and_no_more(make_context: MakeContext) -> None:
    text = files(make_context("head"), "proxy")["/etc/caddy/Caddyfile"]
    paths = next(line for line in text.splitlines() if "@motley1 path" in line).split()
    assert {"/", "/info", "/user/deploy", "/api/user/deploy"} <= set(paths)
    assert not [path for path in paths if "verify" in path or "admin" in path or path == "/user/*"]
    assert "control.sock" not in text and "client_auth" not in text and 'respond "nothing here" 404' in text
    # one proxy a machine, and the home page stays the facility's
    (only,) = find_origins(make_context("service", service="identity, accounts, access", head="").node)
    assert [paths.split()[0] for _, paths in only.named] == [
        "/node/*",
        "/renewal/*",
        "/authority/*",
        "/login/*",
        "/accounts/*",
        "/ssh/*",
        "/info",
    ]
    assert only.default


def test_a_service_with_a_name_of_its_own(make_context: MakeContext) -> None:
    """A site in the proxy and a name in its certificate; who is a node is nothing that others can say there."""
    context = make_context("head")
    routes = (*context.node.routes, Route("desk", ("/hooks/*",), origin="desk", enter="nodes"), Route("pages", (), True, "desk"))
    context = replace(context, node=context.node.model_copy(update={"routes": routes}))
    (certificate,) = [item for item in PART.role("proxy").configure(context) if isinstance(item, Certificate)]
    assert certificate.names == ("head.farmlet.test", "desk.farmlet.test")
    own, desk = files(context, "proxy")["/etc/caddy/Caddyfile"].split("\nhttps://")[1:]
    assert own.startswith("head.farmlet.test {") and "client_auth" not in own and "pages.sock" not in own
    assert desk.startswith("desk.farmlet.test {") and "client_auth" in desk and "motley" not in desk
    assert desk.index("request_header -X-Farmlet-Node") < desk.index("path /hooks/*") < desk.index("pages.sock")
    assert (
        "reverse_proxy @node unix//run/farmlet-proxy/desk.sock" in desk
        and "reverse_proxy unix//run/farmlet-proxy/desk" not in desk
    )


def test_nobody_but_nodes_comes_in_by_a_default_route_for_nodes() -> None:
    origin = Origin("x.farmlet.test", [Route("desk", default=True, enter="nodes")])
    text = render(PACKAGE, "Caddyfile", origins=[origin], certificate="c", key="k", ca="a", sockets="/s", idle=1, nodes=["n"])
    assert "client_auth" in text and "reverse_proxy @node" in text and "reverse_proxy unix" not in text


def test_each_node_has_boxes_of_its_own_at_the_control_api(make_context: MakeContext) -> None:
    context = make_context("service")
    resources = PART.role("control").configure(context)
    modes = {item.path: item.mode for item in resources if isinstance(item, Directory)}
    for box in ("inbox", "outbox"):
        for node in ("head", "service"):
            assert modes[f"/var/lib/farmlet/control/{box}/{node}"] == 0o2770
    config = json.loads(files(context, "control")["/etc/farmlet/control.json"])
    assert config["nodes"] == {"head.farmlet.test": "head", "service.farmlet.test": "service"}


def test_a_nodes_certificate_names_that_node_only(make_context: MakeContext) -> None:
    for node in ("head", "service"):
        found = [item for item in PART.role("agent").configure(make_context(node)) if isinstance(item, Certificate)]
        assert [(item.names, item.client, item.mode) for item in found] == [((f"{node}.farmlet.test",), True, 0o600)]


def test_install_has_no_names_and_no_secrets() -> None:
    for role in PART.roles:
        for item in role.install():
            assert not isinstance(item, File | Certificate)
            assert "farmlet.test" not in repr(item)


def test_authorities_and_what_they_revoked_are_for_everybody(make_context: MakeContext) -> None:
    context = make_context("service")
    found = files(replace(context, trust=replace(context.trust, revoked="LIST\n")), "renewal")
    published = json.loads(found["/etc/farmlet/renewal.json"])["published"]
    assert found[published["facility.crl"]] == "LIST\n" and published["facility.pem"] == "/etc/farmlet/ca.pem"
    # beside requests for certificates, which are the nodes' alone
    blocks = files(context, "proxy")["/etc/caddy/Caddyfile"].split("\n\t@")
    told = {name: next(one for one in blocks if f"path /{name}/*\n" in one) for name in ("renewal", "authority")}
    assert all("renewal.sock" in one for one in told.values())
    assert "only the nodes" in told["renewal"] and "only the nodes" not in told["authority"]


def test_nodes_trust_whom_the_file_names(make_context: MakeContext) -> None:
    one, two = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in ("QUJD", "REVG"))
    text = "".join(f"    {line}\n" for line in (one + two).splitlines())
    found = {
        path: text for path, text in files(make_context("head", f"base:\n  ca: |\n{text}"), "trust").items() if "file" in path
    }
    assert found == {f"{LOCAL_CA}/farmlet-file-1.crt": one, f"{LOCAL_CA}/farmlet-file-2.crt": two}
    assert not [path for path in files(make_context("head"), "trust") if "file" in path]
