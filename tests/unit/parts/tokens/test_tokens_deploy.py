"""What part tokens wants on an access point."""

from __future__ import annotations

from farmlet.facility.model import Facility, Node
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Directory, File
from farmlet.parts.tokens.deploy import FOLDER, PART, PROGRAM


def test_credmon_follows_the_access_point_and_asks_only_our_issuer() -> None:
    nodes = {
        "head": Node(name="head", fqdn="head.af.test", connect="fake", roles=("batch.access", "tokens.credmon")),
        "service": Node(name="service", fqdn="service.af.test", connect="fake"),
    }
    facility = Facility(version=1, name="af", title="", domain="af.test", nodes=nodes, controller="service")
    role = PART.role("credmon")
    assert role.with_role == "batch.access"
    found = role.configure(Context(facility, nodes["head"], Trust(""), "wheel"))
    files = {resource.path: resource for resource in found if isinstance(resource, File)}
    config = files["/etc/condor/config.d/50-farmlet-credmon.config"].data.decode()
    assert f"CREDMON_OAUTH = {PROGRAM}\n" in config
    assert f"CREDMON_OAUTH_ARGS = {FOLDER} --issuer https://service.af.test\n" in config
    assert files[PROGRAM].mode == 0o755
    folder = next(resource for resource in found if isinstance(resource, Directory) and resource.path == FOLDER)
    assert (folder.mode, folder.owner, folder.group) == (0o2770, "root", "condor")
