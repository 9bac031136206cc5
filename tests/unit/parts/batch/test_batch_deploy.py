"""What part batch wants on nodes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from farmlet.facility.model import Facility, Node, Site
from farmlet.parts.batch import deploy, minting
from farmlet.parts.batch.config import Batch
from farmlet.parts.identity.config import Section as Identity
from farmlet.parts.overlay.config import Overlay
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import File, Packages, Random, Unit

GIB = 1 << 30
CENTRAL = ("batch.central", "overlay.controller")
MEMBER = ("batch.access", "batch.execute")


def make_context(name: str, head: tuple[str, ...] = MEMBER, service: tuple[str, ...] = CENTRAL) -> Context:
    nodes = {
        "head": Node(name="head", fqdn="head.af.test", connect="fake", cores=2, memory=6 * GIB, roles=head),
        "service": Node(name="service", fqdn="service.af.test", connect="fake", roles=service),
    }
    parts = {"batch": Batch(), "identity": Identity()}
    facility = Facility(version=1, name="af", title="", domain="af.test", nodes=nodes, controller="service", parts=parts)
    return Context(facility, nodes[name], Trust(""), "wheel")


def read(resources: object, path: str) -> str:
    assert isinstance(resources, tuple)
    found = [resource for resource in resources if isinstance(resource, File) and resource.path == path]
    assert len(found) == 1
    return found[0].data.decode()


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, value in (line.split("=", 1) for line in lines)}


def test_nothing_starts_before_its_configuration() -> None:
    """A node image starts its units at boot; an unconfigured HTCondor would be a pool of its own, with its own key."""
    found = deploy.install_condor()
    dropin = read(found, "/etc/systemd/system/condor.service.d/farmlet.conf")
    assert f"ConditionPathExists={deploy.POOL}" in dropin
    assert any(
        resource.path == deploy.POOL for resource in deploy.configure_pool(make_context("head")) if isinstance(resource, File)
    )
    kinds = [type(resource) for resource in found]
    kernel = next(index for index, resource in enumerate(found) if isinstance(resource, File) and "kernel" in resource.path)
    assert kernel < kinds.index(Packages)
    assert Unit not in kinds


def test_pool_is_found_by_the_names_of_the_facility() -> None:
    pool = settings(read(deploy.configure_access(make_context("head")), deploy.POOL))
    assert pool["COLLECTOR_HOST"] == "service.af.test:9618"
    assert pool["NETWORK_HOSTNAME"] == "head.af.test"
    assert pool["TRUST_DOMAIN"] == pool["UID_DOMAIN"] == "af.test"
    assert "SSL" not in pool["SEC_DEFAULT_AUTHENTICATION_METHODS"]


@pytest.mark.parametrize("service, allowed", [(CENTRAL, True), (("batch.central",), False)])
def test_overlay_may_advertise_only_where_there_is_one(service: tuple[str, ...], allowed: bool) -> None:
    context = make_context("service", service=service)
    text = read(deploy.configure_central(context), f"{deploy.CONFIG}/20-farmlet-central.config")
    values = settings(text)
    for name in ("ALLOW_ADVERTISE_STARTD", "ALLOW_ADVERTISE_MASTER"):
        assert ("overlay@af.test" in values[name]) is allowed
    assert ("overlay@af.test" in text) is allowed
    assert "overlay" not in values["ALLOW_ADVERTISE_SCHEDD"]  # a drone's token must never pass for an access point


def test_local_slots_take_only_jobs_that_want_them_and_leave_room() -> None:
    text = read(deploy.configure_execute(make_context("head")), f"{deploy.CONFIG}/40-farmlet-execute.config")
    values = settings(text)
    assert values["START"].startswith("TARGET.WantLocal =?= True && ")
    assert (values["NUM_CPUS"], values["MEMORY"]) == ("2", str(5 * 1024))
    bare = deploy.configure_execute(make_context("service", service=("batch.execute", *CENTRAL)))
    assert "NUM_CPUS" not in settings(read(bare, f"{deploy.CONFIG}/40-farmlet-execute.config"))


def test_local_slots_hold_jobs_that_take_more_than_they_asked_for() -> None:
    lines = read(deploy.configure_execute(make_context("head")), f"{deploy.CONFIG}/40-farmlet-execute.config").splitlines()
    assert {"use policy:HOLD_IF_MEMORY_EXCEEDED", "use policy:HOLD_IF_DISK_EXCEEDED"} <= {*lines}
    assert lines.index("PREEMPT = False") < lines.index("use policy:HOLD_IF_DISK_EXCEEDED"), "which adds to it"
    access = settings(read(deploy.configure_access(make_context("head")), f"{deploy.CONFIG}/30-farmlet-access.config"))
    assert access["JOB_DEFAULT_REQUESTDISK"] == "max({DiskUsage, 1048576})"


def test_tokens_allow_what_a_node_runs_and_no_more() -> None:
    told = json.loads(read(deploy.configure_central(make_context("service")), minting.MINT))["pool"]
    assert told["nodes"] == {"head": ["ADVERTISE_SCHEDD", "ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ"]}
    told = minting.describe(make_context("service", head=("batch.execute",), service=(*CENTRAL, "batch.access")))["pool"]
    # the central manager has the key itself
    assert told["nodes"] == {"head": ["ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ"]}
    assert told["lifetime"] == 30 * 86400


def test_token_is_delivered_for_root_alone() -> None:
    for role, configure in (("access", deploy.configure_access), ("execute", deploy.configure_execute)):
        task = json.loads(read(configure(make_context("head")), f"/etc/farmlet/agent.d/batch.{role}.json"))
        delivery = task["deliver"]["pool-token"]
        assert (delivery["path"], delivery["mode"], delivery["owner"]) == ("/etc/condor/tokens.d/pool", "0600", "root")
        assert delivery["then"] == [["systemctl", "try-reload-or-restart", "condor.service"]]


def test_no_key_or_token_is_written_by_a_role() -> None:
    for role in deploy.PART.roles:
        context = make_context("service" if role.name == "central" else "head")
        paths = [resource.path for resource in (*role.install(), *role.configure(context)) if isinstance(resource, File)]
        assert not [path for path in paths if "passwords.d" in path or "tokens.d" in path]


def test_nobody_reads_without_saying_who_they_are() -> None:
    for name in ("head", "service"):
        pool = settings(read(deploy.configure_pool(make_context(name)), deploy.POOL))
        assert pool["SEC_READ_AUTHENTICATION"] == "REQUIRED"
        assert "ANONYMOUS" not in pool["SEC_READ_AUTHENTICATION_METHODS"] + pool["SEC_CLIENT_AUTHENTICATION_METHODS"]
        # HTCondor 23.9 lets everybody in as soon as one entry may be a host's
        assert all("@" in entry for entry in pool["ALLOW_READ"].split())
        assert pool["TOOL.SEC_TOKEN_DIRECTORY"] == f"{minting.TOKENS}/$(USERNAME)"


def test_an_access_point_has_a_key_for_itself_and_its_token_goes_to_the_others() -> None:
    found = deploy.configure_access(make_context("head"))
    keys = [resource.path for resource in found if isinstance(resource, Random)]
    assert keys == ["/etc/condor/passwords.d/head"]
    minted = json.loads(read(found, minting.MINT))
    assert set(minted) == {"reader"} and minted["reader"]["key"] == keys[0]
    tasks = json.loads(read(found, "/etc/farmlet/agent.d/batch.readers.json"))
    assert tasks["publish"] == {minting.READERS: minting.READER}
    assert tasks["apply"]["accounts"]["args"]["users"] == ["root"] and tasks["apply"]["accounts"]["args"]["members"]

    central = deploy.configure_central(make_context("service"))
    assert not [resource for resource in central if isinstance(resource, Random)]
    share = json.loads(read(central, minting.MINT))["share"]
    assert (share["sources"], share["targets"]) == (["head"], ["head", "service"])
    tasks = json.loads(read(central, "/etc/farmlet/agent.d/batch.readers.json"))
    assert "publish" not in tasks
    assert (tasks["apply"]["accounts"]["args"]["users"], tasks["apply"]["accounts"]["args"]["members"]) == (["overlay"], False)
    # beside the collector there is the pool's key, which an access point there verifies
    both = make_context("service", head=("batch.execute",), service=(*CENTRAL, "batch.access"))
    assert not [resource for resource in deploy.configure_access(both) if isinstance(resource, Random)]
    assert minting.describe(both)["share"]["sources"] == []


def test_check_of_the_token_is_not_asked_of_who_has_the_key() -> None:
    names = {check.name for check in deploy.check_access(make_context("head"))}
    assert names == {"batch.access", "batch.token"}
    both = make_context("service", service=(*CENTRAL, "batch.access"))
    assert {check.name for check in deploy.check_access(both)} == {"batch.access"}


@pytest.mark.parametrize(
    ("sites", "reason"), [(True, "request_cpus = 1 and request_memory = 1024"), (False, "the facility has no sites")]
)
def test_what_no_drone_takes_is_refused_and_held_in_words(sites: bool, reason: str) -> None:
    context = make_context("head")
    if sites:
        site = Site(name="tier1", kind="htcondor", connect="container")
        parts = {**context.facility.parts, "overlay": Overlay()}
        context = replace(context, facility=context.facility.model_copy(update={"sites": {"tier1": site}, "parts": parts}))
    values = settings(read(deploy.configure_access(context), f"{deploy.CONFIG}/30-farmlet-access.config"))
    assert reason in values["FarmletLargeSiteReason"]
    assert ("RequestCpus > 1 || RequestMemory > 1024" in values["FarmletLargeSite"]) is sites
    assert values["FarmletLargeOwn"] == f"RequestCpus > 2 || RequestMemory > {5 * 1024}"
    assert "request_cpus = 2, none with more than request_memory = 5120: ask" in values["FarmletLargeOwnReason"]
    assert values["SUBMIT_REQUIREMENT_FarmletSize_REASON"] == values["SYSTEM_PERIODIC_HOLD_FarmletSize_REASON"]


@pytest.mark.parametrize(
    ("head", "service", "large", "reason"),
    [
        (MEMBER, CENTRAL, "RequestCpus > 2 || RequestMemory > 5120", "none with more than"),
        # a host whose size the file does not say
        (MEMBER, (*CENTRAL, "batch.execute"), "False || False", "no slot for that: ask"),
        (("batch.access",), CENTRAL, "True", "leave out +WantLocal"),
    ],
)
def test_what_no_slot_of_the_facilitys_own_takes(
    head: tuple[str, ...], service: tuple[str, ...], large: str, reason: str
) -> None:
    context = make_context("head", head, service)
    values = settings(read(deploy.configure_access(context), f"{deploy.CONFIG}/30-farmlet-access.config"))
    assert values["FarmletLargeOwn"] == large and reason in values["FarmletLargeOwnReason"]


@pytest.mark.parametrize(
    ("image", "known"),
    [
        ("/cvmfs/unpacked/analysis", True),
        ("/cvmfs/unpacked.example.org/group/tool:v1", True),
        ("fit.sif", True),
        ("/home/ada/fit/fit.sif", True),
        ("docker://python:3.12-slim", False),
        ("oras://registry.example.org/fit.sif", False),
        ("python", False),
        ("/home/ada/cvmfs/unpacked", False),
    ],
)
def test_images_that_slots_know(image: str, known: bool) -> None:
    values = settings(read(deploy.configure_access(make_context("head")), f"{deploy.CONFIG}/30-farmlet-access.config"))
    (pattern,) = set(re.findall(r'regexp\("([^"]*)"', values["FarmletKnown"]))
    assert bool(re.search(pattern, image)) is known
    assert "container_image = /cvmfs/unpacked/analysis" in values["FarmletKnownReason"]


@pytest.mark.parametrize("roles, program", [(("access.login", *MEMBER), deploy.WORKFLOW), (MEMBER, "/usr/bin/condor_dagman")])
def test_workflows_wait_for_the_guard_where_there_is_one(roles: tuple[str, ...], program: str) -> None:
    found = deploy.configure_access(make_context("head", head=roles))
    text = read(found, f"{deploy.CONFIG}/30-farmlet-access.config")
    assert f'EVALSET Cmd ifThenElse(Cmd == "/usr/bin/condor_dagman", "{program}", "no workflow")' in text
    assert f'&& TARGET.Cmd == "{program}"\n' in text
    waits = [resource for resource in found if isinstance(resource, File) and resource.path == deploy.WORKFLOW]
    assert len(waits) == (program == deploy.WORKFLOW)
