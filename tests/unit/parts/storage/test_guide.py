"""Where the list of storage elements lies, for nodes and for jobs."""

from __future__ import annotations

import pytest

from farmlet.facility.load import loads
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import File
from farmlet.parts.storage.deploy import GUIDE, PART

TEXT = """
farmlet: 1
facility: {{name: lab, title: Example, domain: farmlet.test}}
nodes:
  head: {{connect: fake, runs: [access, storage]}}
  service: {{connect: fake, runs: [identity, accounts]}}
  build: {{connect: fake, runs: [{more}]}}
groups:
  lab: {{login: true}}
"""
JOBS = "/cvmfs/farmlet.test/storage.json"


def find_lists(more: str) -> dict[str, set[str]]:
    """Node → the paths of all lists that part storage writes there; all must say the same."""
    facility = loads(TEXT.format(more=more), "facility.yaml", find())
    found: dict[str, set[str]] = {}
    texts = set()
    for node in facility.nodes.values():
        context = Context(facility, node, Trust("CA\n"), "0" * 64)
        roles = [role for role in PART.roles if f"storage.{role.name}" in node.roles]
        files = [one for role in roles for one in role.configure(context) if isinstance(one, File)]
        lists = [one for one in files if one.path.endswith("storage.json")]
        found[node.name] = {one.path for one in lists}
        texts |= {one.data for one in lists}
    assert len(texts) == 1
    return found


@pytest.mark.parametrize(("more", "where"), [("software", "service"), ("software.build", "build"), ("batch", None)])
def test_jobs_find_it_where_the_software_is_distributed(more: str, where: str | None) -> None:
    lists = find_lists(more)
    assert all(GUIDE in paths for paths in lists.values())
    assert [name for name, paths in lists.items() if JOBS in paths] == ([where] if where else [])
