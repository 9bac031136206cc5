from __future__ import annotations

from collections.abc import Mapping

from farmlet.facility.catalog import PartSpec
from farmlet.facility.spread import find_controls, place

Catalog = Mapping[str, PartSpec]
EVERY = ("base.proxy", "base.agent")


def test_the_default_sandbox_spreads_as_designed(catalog: Catalog) -> None:
    runs = {
        "head": ["access", "batch", "software", "storage"],
        "service": ["identity", "accounts", "overlay", "tokens"],
    }
    assert find_controls(runs, catalog) == ("service",)
    assert place(runs, catalog, "service") == {
        "head": (
            *EVERY,
            "accounts.client",
            "access.login",
            "batch.access",
            "batch.execute",
            "tokens.credmon",
            "storage.server",
            "software.runtime",
        ),
        "service": (
            *EVERY,
            "base.source",
            "identity.server",
            "accounts.directory",
            "accounts.daemon",
            "access.authority",
            "batch.manager",
            "overlay.controller",
            "tokens.mytoken",
            "storage.client",
            "software.build",
        ),
    }


def test_one_node_runs_everything(catalog: Catalog) -> None:
    parts = [name for name in catalog if name not in ("base", "bridge")]
    roles = place({"all": parts}, catalog, "all")["all"]
    assert list(roles) == [
        f"{part.name}.{role.name}"
        for part in catalog.values()
        for role in part.roles
        if part.name != "bridge" and role.place != "named"
    ]


def test_an_explicit_role_leaves_the_spread(catalog: Catalog) -> None:
    runs = {"head": ["access", "batch"], "service": ["identity"], "worker": ["batch.execute"]}
    roles = place(runs, catalog, "service")
    assert roles["worker"] == (*EVERY, "batch.execute")
    assert "batch.execute" not in roles["head"]
    assert "batch.access" in roles["head"]
    assert "batch.manager" in roles["service"]


def test_a_follower_goes_where_its_lead_was_put_by_hand(catalog: Catalog) -> None:
    runs = {"head": ["access"], "submit": ["batch.access"], "service": ["identity", "tokens"]}
    roles = place(runs, catalog, "service")
    assert [node for node in roles if "tokens.credmon" in roles[node]] == ["submit"]


def test_a_follower_without_its_lead_is_nowhere(catalog: Catalog) -> None:
    roles = place({"head": ["access"], "service": ["identity", "tokens"]}, catalog, "service")
    assert not any("tokens.credmon" in found for found in roles.values())


def test_member_roles_leave_the_control_node_for_all_log_in_nodes(catalog: Catalog) -> None:
    runs = {"one": ["access"], "two": ["access.login"], "service": ["identity", "accounts", "batch"]}
    roles = place(runs, catalog, "service")
    assert [node for node in roles if "accounts.client" in roles[node]] == ["one", "two"]
    assert [node for node in roles if "batch.access" in roles[node]] == ["one", "two"]


def test_member_roles_stay_where_nobody_else_has_log_in(catalog: Catalog) -> None:
    roles = place({"service": ["identity", "access", "batch"], "disk": ["storage"]}, catalog, "service")
    assert "batch.access" in roles["service"]
    assert "access.login" in roles["service"]
    assert "storage.server" in roles["disk"]


def test_the_control_node(catalog: Catalog) -> None:
    def controls(**runs: list[str]) -> tuple[str, ...]:
        return find_controls(runs, catalog)

    assert controls(a=["batch"], b=["identity"], c=["accounts", "overlay"]) == ("b",)
    assert controls(a=["batch"], b=["overlay"]) == ("b",)
    assert controls(a=["batch"]) == ("a",)
    assert controls(a=["batch"], b=["storage"]) == ("a", "b")
    assert controls(a=["accounts"], b=["accounts"]) == ("a", "b")
    assert controls(a=["accounts.client"], b=["accounts.directory"]) == ("b",)
    assert controls() == ()


def test_a_named_role_is_nowhere_unless_it_is_named(catalog: Catalog) -> None:
    runs = {"head": ["access", "accounts"], "service": ["identity"]}
    assert "accounts.files" not in [role for roles in place(runs, catalog, "service").values() for role in roles]
    roles = place(runs | {"disks": ["accounts.files"]}, catalog, "service")
    assert [node for node in roles if "accounts.files" in roles[node]] == ["disks"]
    assert "accounts.client" in roles["head"]
