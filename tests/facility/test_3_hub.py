"""A Hub that is killed, a Docker that is away: servers live on, and whoever starts one is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from notebooks import ask, enter, find_containers, is_ready, join
from person import Person
from sandbox import Sandbox, until

from farmlet.demo.notebook import Hub
from farmlet.errors import FarmletError

pytestmark = [
    pytest.mark.facility,
    pytest.mark.lane("edit"),
    pytest.mark.disturbs("notebooks"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(1200),  # a sandbox that has to come up, after another
]


@pytest.fixture(scope="module")
def tilda(sandbox: Sandbox, running: Sandbox) -> Person:
    return join(sandbox, "tilda")


@pytest.fixture(scope="module")
def hub(sandbox: Sandbox, tilda: Person) -> Iterator[Hub]:
    """Tilda's server, up."""
    found = enter(tilda)
    found.start()
    yield found
    found.stop()


def test_a_killed_hub_finds_its_servers_again(sandbox: Sandbox, tilda: Person, hub: Hub) -> None:
    kernel = tilda.browser.call("POST", f"{hub.server}/api/kernels", hub.headers, {"name": "python3"})["id"]
    before = find_containers(sandbox, tilda.name)
    # it stays away for a while: what is open goes on
    sandbox.exec("head", "systemctl kill --signal KILL farmlet-notebooks; systemctl stop farmlet-notebooks")
    assert ask(tilda, f"{hub.server}/api/kernels/{kernel}", hub.token) == 200
    sandbox.exec("head", "systemctl start farmlet-notebooks")
    until(lambda: is_ready(tilda, hub), 90)
    assert find_containers(sandbox, tilda.name) == before
    assert ask(tilda, f"{hub.server}/api/kernels/{kernel}", hub.token) == 200


def test_a_docker_that_is_away_is_told_and_ends_no_server(sandbox: Sandbox, tilda: Person, hub: Hub) -> None:
    other = join(sandbox, "ulla")
    theirs = enter(other)
    theirs.log_in()
    try:
        sandbox.exec("head", "systemctl stop docker.socket docker.service")
        with pytest.raises(FarmletError, match="Docker on this node does not answer"):
            other.browser.call("POST", f"{hub.url}/hub/api/users/{other.name}/server", theirs.headers, {"cores": 1})
        assert ask(tilda, f"{hub.server}/api/contents", hub.token) == 200
    finally:
        sandbox.exec("head", "systemctl start docker.service")
    theirs.start()
    theirs.stop()
    assert ask(tilda, f"{hub.server}/api/contents", hub.token) == 200
