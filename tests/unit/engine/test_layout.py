from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.engine.layout import FIRST_NODE, FIRST_SITE, Layout, addresses
from farmlet.engine.store import Store
from farmlet.errors import FarmletError
from farmlet.facility.model import Facility
from farmlet.parts.part import Part

SUBNET = ipaddress.IPv4Network("10.213.4.0/24")
name_lists = st.lists(st.text("abcdef", min_size=1, max_size=3), unique=True, max_size=12)


def test_nodes_then_sites() -> None:
    found = addresses(["head", "service", "tier1"], 2, SUBNET, {})
    assert found == {
        "head": f"10.213.4.{FIRST_NODE}",
        "service": f"10.213.4.{FIRST_NODE + 1}",
        "tier1": f"10.213.4.{FIRST_SITE}",
    }


@given(first=name_lists, second=name_lists, split=st.integers(0, 12))
def test_kept_and_unique(first: list[str], second: list[str], split: int) -> None:
    kept = addresses(first, min(split, len(first)), SUBNET, {})
    found = addresses(second, min(split, len(second)), SUBNET, kept)
    assert all(found[name] == kept[name] for name in first), "who was there before stays where it is"
    assert len(set(found.values())) == len(found)
    assert all(ipaddress.IPv4Address(found[name]) in SUBNET for name in second)
    assert addresses(second, min(split, len(second)), SUBNET, found) == found


def test_another_subnet_gives_new_addresses() -> None:
    kept = addresses(["head"], 1, ipaddress.IPv4Network("10.213.9.0/24"), {})
    assert addresses(["head"], 1, SUBNET, kept)["head"] in [str(address) for address in SUBNET.hosts()]


@pytest.mark.parametrize("subnet", ["10.213.4.0/29", "10.213.4.0/28"])
def test_a_subnet_that_is_too_small_is_refused(subnet: str) -> None:
    network = ipaddress.IPv4Network(subnet)
    names = [f"node{index}" for index in range(9)]
    try:
        found = addresses(names, len(names), network, {})
    except FarmletError as error:
        assert error.hint
        return
    usable = set(map(str, network.hosts()))
    assert set(found.values()) <= usable


def test_roles_come_in_the_order_of_needs(facility: Facility, parts: dict[str, Part], store: Store) -> None:
    layout = Layout(facility, parts, (), store, {})
    titles = [title for title, _ in layout.roles(facility.nodes["head"])]
    assert titles == ["base.agent", "lower.ground", "upper.roof"]
    assert [title for title, _ in layout.roles(facility.nodes["service"])] == ["base.agent", "identity.provider"]
    assert [wanted.role for wanted in layout.install("head")] == [f"{title}.install" for title in titles]


def test_machines(facility: Facility, parts: dict[str, Part], store: Store) -> None:
    machines = Layout(facility, parts, (), store, {}, {"head": "farmlet/node:x"}).machines()
    assert list(machines) == ["head", "service"]
    assert (machines["head"].fqdn, machines["head"].image, machines["head"].data) == (
        "head.tiny.test",
        "farmlet/node:x",
        ("/srv/upper",),
    )
    assert machines["service"].data == ()
