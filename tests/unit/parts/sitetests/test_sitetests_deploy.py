"""What the part brings to the control node."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import Errors
from farmlet.facility.load import default_text, load
from farmlet.facility.model import Facility
from farmlet.parts.part import Context, SiteAccess, Trust, find
from farmlet.parts.resources import File

SITE = SiteAccess("tier1", "tier1.example.org", "drone", "ssh-ed25519 AAAA", "CA", "https://tier1.example.org:8443")


def read(folder: Path, more: str = "") -> Facility:
    (folder / "facility.yaml").write_text(default_text() + more)
    return load(folder / "facility.yaml", find())


def configure(facility: Facility, *sites: SiteAccess) -> dict[str, File]:
    node = facility.host("sitetests.scheduler")
    context = Context(facility, node, Trust("CA", {site.name: site for site in sites}), "")
    role = find()["sitetests"].role("scheduler")
    return {one.path: one for one in role.configure(context) if isinstance(one, File)}


def test_the_service_knows_the_sites_that_somebody_vouched_for(tmp_path: Path) -> None:
    unknown = SiteAccess("hpc", "hpc.example.org", "drone", "", "")
    found: Any = json.loads(configure(read(tmp_path), SITE, unknown)["/etc/farmlet/sitetests.json"].data)
    assert [site["name"] for site in found["sites"]] == ["tier1"]
    told = found["environment"]
    assert told["FARMLET_ELEMENTS"] == "https://head.farmlet.test:8443 https://tier1.example.org:8443"
    assert told["FARMLET_MEMORY"] == "1024" and found["every"] == 600


def test_a_site_is_tested_for_the_repositories_that_it_promises(tmp_path: Path) -> None:
    more = "software: {cvmfs: {repositories: [sft.cern.ch], proxies: [DIRECT]}}\n"
    hpc = SiteAccess("hpc", "hpc.example.org", "drone", "ssh-ed25519 AAAA", "CA")
    found: Any = json.loads(
        configure(read(tmp_path, more + "sitetests: {cvmfs: [tier1]}\n"), SITE, hpc)["/etc/farmlet/sitetests.json"].data
    )
    told = {site["name"]: site["environment"]["FARMLET_REPOSITORIES"] for site in found["sites"]}
    assert told == {"tier1": "sft.cern.ch", "hpc": ""}


def test_a_site_that_promises_repositories_is_one_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(Errors) as several:
        read(tmp_path, "sitetests: {cvmfs: [tier1, mars]}\n")
    (error,) = several.value.errors
    assert error.what == "sitetests.cvmfs: mars is no site of the file" and error.hint == "its sites: tier1"


def test_the_tests_are_told_of_all_images(tmp_path: Path) -> None:
    more = "software: {default: reco, images: [{name: reco, packages: [tree]}, {name: fit, packages: [tree]}]}\n"
    found: Any = json.loads(configure(read(tmp_path, more), SITE)["/etc/farmlet/sitetests.json"].data)
    assert found["environment"]["FARMLET_IMAGE"] == "/cvmfs/unpacked/reco"
    images = found["environment"]["FARMLET_IMAGES"].split()
    assert images == [f"/cvmfs/unpacked/{name}" for name in ("reco", "analysis", "fit")]


def test_a_sites_tests_write_to_the_facilitys_elements_and_its_own(tmp_path: Path) -> None:
    hpc = SiteAccess("hpc", "hpc.example.org", "drone", "ssh-ed25519 AAAA", "CA", "https://hpc.example.org:8443")
    bare = SiteAccess("bare", "bare.example.org", "drone", "ssh-ed25519 AAAA", "CA")
    found: Any = json.loads(configure(read(tmp_path), SITE, hpc, bare)["/etc/farmlet/sitetests.json"].data)
    ours, tier1 = "https://head.farmlet.test:8443", SITE.storage
    stores = {site["name"]: site["environment"]["FARMLET_STORES"] for site in found["sites"]}
    assert stores == {"tier1": f"{ours} {tier1}", "hpc": f"{ours} {hpc.storage}", "bare": ours}
    assert found["token"]["audience"] == f"{ours} {tier1} {hpc.storage}"


def test_the_collaborations_tests_lie_beside_the_facility_file(tmp_path: Path) -> None:
    assert not [path for path in configure(read(tmp_path)) if path.startswith("/etc/farmlet/sitetests/")]
    (tmp_path / "checks/deep").mkdir(parents=True)
    (tmp_path / "checks/weather.py").write_bytes(b"\xff")
    (tmp_path / "checks/.hidden").write_text("")
    facility = read(tmp_path, "sitetests: {folder: checks}\n")
    found = configure(facility)
    assert found["/etc/farmlet/sitetests/weather.py"].data == b"\xff"
    assert len([path for path in found if path.startswith("/etc/farmlet/sitetests/")]) == 1
    (tmp_path / "checks/odd\nname").write_text("")
    with pytest.raises(Errors) as several:
        read(tmp_path, "sitetests: {folder: checks}\n")
    assert "'odd\\nname' is no name for a file of a test" in several.value.errors[0].what


def test_the_key_is_the_overlays_and_both_are_on_one_node(tmp_path: Path) -> None:
    unit = configure(read(tmp_path), SITE)["/etc/systemd/system/farmlet-sitetests.service"].data.decode()
    assert "LoadCredential=secret:/var/lib/farmlet/identity/clients/sitetests.secret" in unit
    assert "LoadCredential=key:/var/lib/farmlet/overlay/ssh/id_ed25519" in unit and "User=farmlet-sitetests" in unit
    text = default_text().replace("tokens, sitetests, monitoring]", "tokens, monitoring]")
    (tmp_path / "facility.yaml").write_text(text.replace("storage, notebooks]", "storage, notebooks, sitetests.scheduler]"))
    with pytest.raises(Errors) as several:
        load(tmp_path / "facility.yaml", find())
    assert "the overlay's key, which is on another node" in several.value.errors[0].what


def test_the_page_has_an_origin_a_client_and_a_user_of_its_own_and_knows_the_admins(tmp_path: Path) -> None:
    facility = read(tmp_path)
    found = configure(facility, SITE)
    page: Any = json.loads(found["/etc/farmlet/sitepages.json"].data)
    assert page["sites"] == ["tier1"] and page["admins"] == ["/lab/admins"]
    assert page["login"]["origin"] == "https://sitetests.farmlet.test" in (f"https://{name}" for name in facility.control.names)
    unit = found["/etc/systemd/system/farmlet-sitepages.service"].data.decode()
    assert "User=farmlet-sitepages" in unit and "LoadCredential" not in unit
    assert re.findall("ReadWritePaths=(.*)", unit) == ["/var/lib/farmlet/sitetests/asked"]
    tasks: Any = json.loads(found["/etc/farmlet/agent.d/sitetests.scheduler.json"].data)
    assert tasks["deliver"]["client-sitetests"]["owner"] == "farmlet-sitepages"
