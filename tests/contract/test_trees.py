"""What takes long to build goes from one image of a node to the next, as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import docker
import pytest

from farmlet.engine.images import build as images
from farmlet.engine.images import trees
from farmlet.engine.nodes.container import ContainerDriver
from farmlet.engine.nodes.driver import Machine
from farmlet.errors import FarmletError
from farmlet.parts.resources import Command, Environment, Packages, Wanted

pytestmark = [pytest.mark.facility, pytest.mark.lane("contract"), pytest.mark.timeout(300)]
TREE = "/usr/lib/farmlet/images/odd"
FILL = f"""
mkdir -p {TREE}/bin && cd {TREE}
echo text > file && ln file hard && ln -s file soft && ln -s /etc/hostname far
install -m 2755 -o daemon -g mail /dev/null bin/set && mkdir -m 1777 tmp && touch 'a name with ü'
"""
LOOK = f"cd {TREE} && find . -printf '%P %y %m %u %g %n %l\\n' | sort && cat file"


@pytest.fixture
def held(client: docker.DockerClient, containers: ContainerDriver, blank: Machine) -> Iterator[tuple[str, str]]:
    """An image that holds the tree with the key `key`: its content as LOOK sees it, and the image."""
    name = containers.name(blank)
    found = client.containers.get(name)
    assert found.exec_run(["sh", "-ec", FILL])[0] == 0
    looked = found.exec_run(["sh", "-ec", LOOK])[1].decode()
    images.commit(client, name, "test-of-trees", {"key": TREE})
    yield looked, images.tag("test-of-trees")
    client.images.remove(images.tag("test-of-trees"), force=True)


def test_a_tree_is_taken_over_as_it_is(
    client: docker.DockerClient, containers: ContainerDriver, machine: Machine, held: tuple[str, str]
) -> None:
    other = replace(machine, name="other", data=())
    containers.remove(other)
    try:
        containers.ensure(other)
        name = containers.name(other)
        taken = trees.take(client, images.REPOSITORY, name, {"key": TREE, "unknown": "/opt/none"})
        assert taken == {"key"}
        assert client.containers.get(name).exec_run(["sh", "-ec", LOOK])[1].decode() == held[0]
        left = client.containers.list(all=True, filters={"ancestor": held[1]})
        assert left == [], "what it was copied from is gone"
    finally:
        containers.remove(other)


def test_a_copy_that_fails_is_told_with_image_and_path(
    client: docker.DockerClient, containers: ContainerDriver, blank: Machine, held: tuple[str, str]
) -> None:
    """What the label names is not in the image."""
    name = containers.name(blank)
    images.commit(client, name, "test-of-lies", {"lie": "/opt/none"})
    try:
        with pytest.raises(FarmletError, match="/opt/none cannot be copied from image") as told:
            trees.take(client, images.REPOSITORY, name, {"lie": "/opt/none"})
        assert told.value.hint
    finally:
        client.images.remove(images.tag("test-of-lies"), force=True)


def test_what_it_is_made_of_is_its_key() -> None:
    def keys(*resources: object, base: str = "base") -> dict[str, str]:
        return trees.list_trees((Wanted("part.role", resources),), base)  # type: ignore[arg-type]

    one = keys(Packages(("curl",)), Environment("/opt/one", "requests==2"), Command("fill", "make", fills=TREE))
    assert list(one.values()) == ["/opt/one", TREE]
    assert keys(Environment("/opt/one", "requests==2")).keys() < one.keys()
    assert not keys(Environment("/opt/one", "requests==3")).keys() & one.keys()
    assert not keys(Environment("/opt/one", "requests==2"), base="newer").keys() & one.keys()
    assert keys(Environment("/opt/empty", "")) == {}, "is made as quickly as it is copied"
