"""The stand-in site: a pool and a storage element that know no more of the facility than a real site would."""

from __future__ import annotations

from farmlet.engine.layout import View
from farmlet.facility.model import Facility, Node, Site
from farmlet.parts.batch import deploy as batch
from farmlet.parts.overlay.deploy import KEY
from farmlet.parts.resources import Certificate, Environment, Farmlet, File, Packages
from farmlet.parts.storage import element
from farmlet.standins.htcondor import POOL, Tier1

FQDN = "tier1.sites.af.test"


def make_facility() -> Facility:
    nodes = {"service": Node(name="service", fqdn="service.af.test", connect="fake", roles=("overlay.controller",))}
    site = Site(name="tier1", kind="htcondor", connect="container", cores=4, memory=8 << 30)
    return Facility(version=1, name="af", title="", domain="af.test", nodes=nodes, controller="service", sites={"tier1": site})


def configure(key: str) -> dict[str, File]:
    facility = make_facility()
    site = Tier1(facility.sites["tier1"], facility)
    found = site.configure(View(facility, "FACILITY CA\n", "SITE CA\n", {"service": {KEY: key}} if key else {}))
    assert [resource.names for resource in found if isinstance(resource, Certificate)] == [(FQDN,)]
    return {resource.path: resource for resource in found if isinstance(resource, File)}


def test_drones_come_in_by_the_overlays_key_and_may_only_run_commands() -> None:
    keys = configure("ssh-ed25519 AAAA overlay")["/home/drone/.ssh/authorized_keys"]
    assert keys.data == b"restrict ssh-ed25519 AAAA overlay\n"
    assert (keys.mode, keys.owner) == (0o600, "drone")
    assert configure("")["/home/drone/.ssh/authorized_keys"].data == b""


def test_pool_is_its_own() -> None:
    text = configure("")[POOL].data.decode()
    assert f"TRUST_DOMAIN = {FQDN}\n" in text
    assert "NUM_CPUS = 4\nMEMORY = 8192\n" in text
    assert "service.af.test" not in text


def test_trusts_the_facility_by_issuer_and_authority_only() -> None:
    found = configure("")
    assert "issuer = https://service.af.test\n" in found[element.TOKENS].data.decode()
    assert f"https://{FQDN}:8443" in found[element.TOKENS].data.decode()
    texts = {path: file.data.decode() for path, file in found.items() if "CA\n" in file.data.decode()}
    assert sorted(texts.values()) == ["FACILITY CA\n", "FACILITY CA\n", "SITE CA\n"]
    assert not any(path.startswith("/etc/farmlet/agent.d") for path in found)


def test_image_has_no_software_of_the_facility_and_starts_nothing() -> None:
    facility = make_facility()
    found = Tier1(facility.sites["tier1"], facility).install()
    assert not [resource for resource in found if isinstance(resource, Environment | Farmlet)]
    names = {name for resource in found if isinstance(resource, Packages) for name in resource.names}
    assert {"condor", "apptainer", "bubblewrap", "xrootd-server"} <= names
    dropin = next(resource for resource in found if isinstance(resource, File) and resource.path.endswith("farmlet.conf"))
    assert f"ConditionPathExists={POOL}" in dropin.data.decode()
    assert batch.POOL not in dropin.data.decode()


def test_access() -> None:
    facility = make_facility()
    site = Tier1(facility.sites["tier1"], facility)
    access = site.access("ssh-ed25519 HOST", "SITE CA\n")
    assert (access.host, access.user, access.storage) == (FQDN, "drone", f"https://{FQDN}:8443")
    assert site.mounts == ("/cvmfs",)
