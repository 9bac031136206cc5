"""What part tokens wants on an access point."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from farmlet.facility.model import Facility, Node
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Directory, File
from farmlet.parts.tokens.credmon import Keeper
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


def test_after_an_emergency_rotation_every_token_of_a_job_is_due_and_none_is_missing(tmp_path: Path) -> None:
    top = tmp_path / "ada" / "af.top"
    top.parent.mkdir()
    top.write_text("{}")
    use = top.with_suffix(".use")
    use.write_text("old")
    keeper = Keeper(top, (), None)
    keeper._lifetime = 3600
    assert keeper.due() > time.time()
    subprocess.run(["sh", "-c", PART.role("credmon").forget.replace(FOLDER, str(tmp_path))], check=True)
    assert keeper.due() <= time.time() and use.read_text() == "old"
