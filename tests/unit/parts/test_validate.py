"""What parts say of a facility as a whole: by `validate`, with the line, before anything is made."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Context, Trust, find

CATALOG = find()
TEXT = """\
farmlet: 1
facility: {{name: lab, domain: farmlet.test}}
nodes:
  head: {{connect: {head}, runs: [{runs}]}}
  service: {{connect: fake, runs: [{more}]}}
groups:
  lab: {group}
"""
ITEMS = [*CATALOG, *(f"{part.name}.{role.name}" for part in CATALOG.values() for role in part.roles)]


def read(runs: str, more: str, head: str = "fake", group: str = "{login: true}", after: str = "") -> Facility:
    return loads(TEXT.format(runs=runs, more=more, head=head, group=group) + after, "facility.yaml", CATALOG)


def issues(*runs: str, **values: str) -> list[str]:
    with pytest.raises(Errors) as caught:
        read(*runs, **values)
    return [f"{error.where}: {error.what}" for error in caught.value.errors]


def test_all_that_is_lacking_is_told_at_once_with_its_line() -> None:
    assert issues("access", "identity, overlay") == [
        "facility.yaml:4: nodes.head.runs: access.login needs accounts.daemon, which no node runs",
        "facility.yaml:5: nodes.service.runs: overlay.controller needs batch.central, which no node runs",
    ]


@pytest.mark.parametrize("kind", ["slurm", "htcondr"])
def test_a_kind_of_site_that_there_is_none_of_is_refused_in_words(kind: str) -> None:
    site = f"sites:\n  hpc: {{kind: {kind}, connect: container}}\n"
    (said,) = issues("batch", "identity, accounts, overlay", after=site)
    assert said == f"facility.yaml:9: sites.hpc.kind: {kind} is no kind of site that Farmlet can order drones at yet"


def test_faults_of_another_kind_do_not_hide_it() -> None:
    said = issues("storage", "identity, overlay", group="{storage: {read: [data]}}", after="batch: {interval: 0}\n")
    assert [one.split(": ")[1] for one in said] == ["nodes.service.runs", "groups.lab.storage.read.0", "batch.interval"]


def test_it_waits_until_it_is_certain_what_runs_where() -> None:
    assert issues("access, bath", "identity, overlay") == ["facility.yaml:4: nodes.head.runs.1: unknown part bath"]


def test_an_existing_directory_is_one() -> None:
    ldap = "accounts: {ldap: {url: ldaps://ldap.example.org, people: ou=p, groups: ou=g, bind: cn=x}}\n"
    read("access, accounts.client", "identity, accounts.daemon", after=ldap)
    assert "accounts.client needs accounts.directory" in issues("access, accounts.client", "identity, accounts.daemon")[0]


def test_software_that_a_host_fetches_is_published_by_a_node() -> None:
    runs = ("access, software.client", "identity, accounts")
    assert "software.client needs software.build" in issues(*runs)[0]
    read(*runs, after="software: {shared: true}\n")  # it has it from elsewhere


def test_storage_elements_that_no_token_can_name_all() -> None:
    """Characters count, as at the issuer: 60 short names are fine."""
    few, many = (
        "".join(f"    - {{name: s{n}, kind: dcache, url: https://{word}{n}.test}}\n" for n in range(60))
        for word in ("se", "storage-element-of-the-site")
    )
    read("access, batch", "identity, accounts, tokens", after=f"storage:\n  elements:\n{few}")
    said = issues("access, batch", "identity, accounts, tokens", after=f"storage:\n  elements:\n{many}")
    assert said == ["facility.yaml:9: storage.elements: a token names all 60 storage elements: 2569 characters, more than 2000"]
    iam = "identity: {issuer: https://iam.example/}\n"
    many = many.replace("dcache,", "dcache, authorise: groups,")
    read("access, batch", "identity, accounts, tokens", after=f"{iam}storage:\n  elements:\n{many}")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(ITEMS), unique=True), st.lists(st.sampled_from(ITEMS), unique=True), st.booleans())
@example(["access"], ["identity"], False)
@example(["access", "accounts.files"], ["identity", "accounts"], True)
@example(["batch.execute"], ["identity", "overlay"], False)
@example(["access.motley"], ["identity"], False)
@example(["access"], ["identity", "accounts.daemon"], False)
@example(["access", "software.client"], ["identity", "accounts"], False)
def test_what_is_taken_can_be_written(runs: list[str], more: list[str], contained: bool) -> None:
    """What `plan` and `up` would refuse of the file only after images were built is refused here, or not at all."""
    try:
        facility = read(", ".join(runs), ", ".join(more), head="container" if contained else "fake")
    except Errors:
        return
    for node in facility.nodes.values():
        context = Context(facility, node, Trust("CA"), "0" * 64)
        for part in CATALOG.values():
            for role in part.roles:
                if f"{part.name}.{role.name}" in node.roles:
                    _ = [*role.configure(context), *role.checks(context)]
