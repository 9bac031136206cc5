"""What part base wants on nodes, and that the pinned requirements are those of the lock file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.parts import units
from farmlet.parts.base.deploy import PART, find_routes
from farmlet.parts.part import Context
from farmlet.parts.resources import Certificate, Directory, Environment, File

ROOT = Path(__file__).parents[4]
MakeContext = Callable[..., Context]


def files(context: Context, role: str) -> dict[str, str]:
    return {item.path: str(item.content) for item in PART.role(role).configure(context) if isinstance(item, File)}


def test_the_front_door_knows_the_nodes_and_what_runs(make_context: MakeContext) -> None:
    text = files(make_context("service"), "front")["/etc/caddy/Caddyfile"]
    assert 'vars {tls_client_subject} "CN=head.farmlet.test" "CN=service.farmlet.test"\n' in text
    assert text.index("request_header -X-Farmlet-Node") < text.index("handle /node/*")
    assert "@ssh path /ssh/*\n" in text and "motley" not in text
    assert f"{units.SOCKETS}/identity.sock" in text
    assert "admin unix//" in text


@pytest.mark.parametrize(("node", "role"), [("service", "front"), ("head", "door")])
def test_the_door_closes_idle_connections_before_the_services_do(make_context: MakeContext, node: str, role: str) -> None:
    """Else now and then a request goes into one that is being closed, and its client gets an error 502."""
    text = files(make_context(node), role)["/etc/caddy/Caddyfile"]
    assert text.count("reverse_proxy ") == text.count("import service\n") >= 1
    door = int(text.split("keepalive ")[1].split("s\n")[0])
    unit = str(units.Web("some", "some", "a service", "nobody", "some:app").service.file.content)
    assert door < int(unit.split("--keep-alive ")[1].split(" ")[0])


def test_a_log_in_nodes_door_opens_what_clients_of_motley_cue_need_and_no_more(make_context: MakeContext) -> None:
    text = files(make_context("head"), "door")["/etc/caddy/Caddyfile"]
    paths = next(line for line in text.splitlines() if "@motley path" in line).split()
    assert {"/", "/info", "/user/deploy", "/api/user/deploy"} <= set(paths)
    assert not [path for path in paths if "verify" in path or "admin" in path or path == "/user/*"]
    assert "hub.sock" not in text and "client_auth" not in text and 'respond "nothing here" 404' in text
    # one door a machine, and the home page stays the facility's
    assert find_routes(("identity.provider", "access.motley"))[0][1].split()[0] == "/info"


def test_each_node_has_boxes_of_its_own_at_the_hub(make_context: MakeContext) -> None:
    context = make_context("service")
    resources = PART.role("hub").configure(context)
    modes = {item.path: item.mode for item in resources if isinstance(item, Directory)}
    for box in ("inbox", "outbox"):
        for node in ("head", "service"):
            assert modes[f"/var/lib/farmlet/hub/{box}/{node}"] == 0o2770
    config = json.loads(files(context, "hub")["/etc/farmlet/hub.json"])
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


def test_the_service_requirements_are_in_step_with_the_lock_file() -> None:
    shipped = next(item.requirements for item in PART.role("hub").install() if isinstance(item, Environment))
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    assert uv, "uv is a development dependency"
    command = [uv, "export", "--frozen", "--no-dev", "--extra", "identity", "--extra", "service"]
    command += ["--no-emit-project", "--no-hashes", "--no-header", "--quiet"]
    command += ["--no-emit-package", "segno"]  # draws QR codes for members; no node does
    locked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert _pins(shipped) == _pins(locked)


def _pins(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")}
