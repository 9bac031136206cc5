"""Web services: where their proxy is, by which names they are found, and what two of them cannot share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from farmlet.errors import Errors
from farmlet.facility.catalog import PartSpec
from farmlet.facility.load import loads
from farmlet.facility.model import Route
from farmlet.facility.spread import place

TEXT = """\
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access, desk]}
  service: {connect: fake, runs: [identity]}
"""
DESK = Route("desk", default=True, origin="desk")


@pytest.fixture
def make_catalog(catalog: Mapping[str, PartSpec]) -> Any:
    """The catalogue with a proxy in `base` and a part `desk`, whose role has `routes`."""

    def make(*routes: Route, **more: Any) -> dict[str, Any]:
        fakes: Any = catalog
        proxy = type(fakes["base"].roles[0])("proxy", "routes", (443,))
        base = replace(fakes["base"], roles=(*fakes["base"].roles[1:], proxy))
        pages = type(proxy)("pages", "members", routes=routes)
        return {**fakes, "base": base, "desk": type(base)("desk", (pages,)), **more}

    return make


def add(catalog: dict[str, Any], part: str, *routes: Route) -> dict[str, Any]:
    """A catalogue with one more part of one role on the nodes that list it."""
    desk = catalog["desk"]
    return {**catalog, part: type(desk)(part, (type(desk.roles[0])("pages", "members", routes=routes),))}


def test_the_proxy_is_where_web_services_are(make_catalog: Any) -> None:
    catalog = make_catalog(DESK)
    runs = {"head": ["access"], "desk": ["desk"], "service": ["identity"]}
    roles = place(runs, catalog, "service")
    assert [node for node in roles if "base.proxy" in roles[node]] == ["desk"]
    assert not any("base.proxy" in found for found in place(runs | {"desk": []}, catalog, "service").values())


def test_an_origin_is_a_name_of_the_node_that_serves_it(make_catalog: Any) -> None:
    catalog = make_catalog(DESK, Route("desk", ("/api/*",)), Route("desk", ("/x",), origin="desk"))
    facility = loads(TEXT, "facility.yaml", catalog)
    head, service = facility.nodes.values()
    assert head.names == ("head.farmlet.test", "desk.farmlet.test")
    assert service.names == ("service.farmlet.test",) and service.routes == ()
    assert facility.url("desk") == "https://desk.farmlet.test"
    # the state folder remembers nodes as JSON
    assert type(head).model_validate(head.model_dump(mode="json")) == head


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (Route("a", ("/a/*",)), Route("b", ("/a/*",)), "/a/*"),
        (Route("a", ("/a/*",)), Route("b", ("/a/b", "/b")), "/a/*"),
        (Route("a", default=True), Route("b", default=True), "all other paths"),
        (Route("a", ("/a",), origin="o"), Route("b", ("/a",), origin="o"), "/a"),
        (Route("a", ("/a",), origin="o"), Route("b", ("/a",), origin="p"), ""),
        (Route("a", ("/", "/a"), origin="o"), Route("b", default=True, origin="o"), ""),
        (Route("a", ("/a/*",)), Route("b", ("/b/*", "/a")), ""),
    ],
)
def test_two_services_never_share_a_path(make_catalog: Any, one: Route, other: Route, shared: str) -> None:
    catalog = add(make_catalog(one), "chair", other)
    text = TEXT.replace("desk]", "desk, chair]")
    if not shared:
        loads(text, "facility.yaml", catalog)
        return
    with pytest.raises(Errors) as caught:
        loads(text, "facility.yaml", catalog)
    (fault,) = caught.value.errors
    assert fault.where == "facility.yaml:4" and fault.hint == "put one of them on another node"
    assert "nodes.head.runs: desk.pages and chair.pages both have" in fault.what and f" {shared} of " in fault.what


def test_services_of_different_nodes_may_share_paths_but_no_origin(make_catalog: Any) -> None:
    text = TEXT.replace("[identity]", "[identity, desk.pages]").replace("access, desk", "access, desk.pages")
    loads(text, "facility.yaml", make_catalog(Route("desk", ("/desk/*",))))
    with pytest.raises(Errors) as caught:
        loads(text, "facility.yaml", make_catalog(DESK))
    (fault,) = caught.value.errors
    assert fault.where == "facility.yaml:5" and "leads to node head already" in fault.what


def test_no_node_has_the_name_of_an_origin(make_catalog: Any) -> None:
    with pytest.raises(Errors) as caught:
        loads(TEXT.replace("head:", "desk:"), "facility.yaml", make_catalog(DESK))
    (fault,) = caught.value.errors
    assert "desk.pages has the name desk" in fault.what and fault.hint == "rename the node"
