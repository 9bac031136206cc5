"""Where nobody shares /cvmfs: a site and a host fetch what the facility publishes, and find it at the same paths."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from person import Person
from sandbox import Sandbox, until

from farmlet.facility.places import CA, SHARED
from farmlet.parts.software.sharing.deploy import FILES
from farmlet.parts.software.sharing.mirror import __name__ as MIRROR
from farmlet.parts.units import NODE

pytestmark = [pytest.mark.facility, pytest.mark.lane("edit"), pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
CVMFS = "{repositories: [data.example.org, none.example.org], proxies: ['http://squid.example.org:3128']}"
PLACE = "/var/tmp/farmlet-test-mirror"
SUBMIT = """\
executable = look.sh
requirements = TARGET.FarmletSite =!= undefined && HasCVMFS_data_example_org
request_memory = 300
log = jobs.log
output = named.out
error = named.err
container_image = /cvmfs/unpacked/analysis
queue
output = none.out
error = none.err
container_image = /cvmfs/unpacked/nothing
queue
requirements = HasCVMFS_none_example_org
queue
"""
LOOK = """\
#!/bin/bash
cat /etc/farmlet-image
ls /cvmfs
ls "$X509_CERT_DIR" | grep -c pem
ls -d /var/tmp/farmlet-* /cvmfs/unpacked 2>/dev/null
python3 -c 'import uproot; print("uproot")'
"""


@pytest.fixture(scope="module")
def apart(sandbox: Sandbox, running: Sandbox) -> Iterator[Sandbox]:
    """The facility says that nobody shares the folder, and the site has an empty one."""
    path = sandbox.folder / "facility.yaml"
    before = path.read_text()
    assert "\nsoftware:" not in before
    try:
        path.write_text(f"{before}\nsoftware: {{shared: false, cvmfs: {CVMFS}}}\n")
        sandbox.run("up")
        until(lambda: "/cvmfs/unpacked/analysis" in sandbox.exec("service", f"cat {FILES}/index.json 2>/dev/null || true"), 120)
        until(lambda: not sandbox.exec("service", "condor_status -constraint 'FarmletSite =!= undefined' -af Name"), 60)
        # of the repositories the site has one
        sandbox.exec("tier1", "mount -t tmpfs none /cvmfs && mkdir /cvmfs/data.example.org && touch /cvmfs/data.example.org/file")
        yield sandbox
    finally:
        sandbox.exec("tier1", "! findmnt -t tmpfs /cvmfs || umount /cvmfs; rm -rf /var/tmp/farmlet-*")
        path.write_text(before)
        sandbox.run("up")


def test_jobs_at_the_site_run_in_an_image_that_is_fetched(apart: Sandbox) -> None:
    wilma = Person.join(apart, "wilma", "lab")
    until(lambda: wilma.try_ssh("true").returncode == 0, 30)
    wilma.ssh(f"cat > look.sh <<'.'\n{LOOK}.\ncat > look.sub <<'.'\n{SUBMIT}.\ncondor_submit look.sub")
    until(lambda: wilma.ssh("condor_q -af JobStatus").split() == ["5", "1"], 120)
    stamp = apart.exec("service", "cat /cvmfs/unpacked/analysis/etc/farmlet-image")
    said = wilma.ssh("cat named.out named.err").split("\n")
    assert (said[0], said[1:3], said[4:]) == (stamp, ["data.example.org", apart.domain], ["uproot"]) and int(said[3]) > 1, (
        said,
        wilma.ssh("cat jobs.log"),
    )
    assert "its image: /cvmfs/unpacked/nothing is not published" in wilma.ssh("condor_q -af HoldReason")
    wilma.ssh("condor_rm -all")


def test_a_host_has_the_same_paths(apart: Sandbox) -> None:
    told = {"url": f"https://service.{apart.domain}{SHARED}", "authority": CA, "work": PLACE}
    apart.exec("head", f"mkdir -p {PLACE}/files {PLACE}/top; echo '{json.dumps(told)}' > {PLACE}/config.json")
    try:
        words = f"{NODE}/bin/python -I -m {MIRROR} --config {PLACE}/config.json --top {PLACE}/top"
        assert apart.exec("head", words) == ""
        look = (
            "cat unpacked/analysis/etc/farmlet-image; ls unpacked; diff -r {0}/certificates /cvmfs/{0}/certificates && echo same"
        )
        said = apart.exec("head", f"cd {PLACE}/top/cvmfs && {look.format(apart.domain)}").split("\n")
        assert said == [apart.exec("head", "cat /cvmfs/unpacked/analysis/etc/farmlet-image"), "analysis", "images.json", "same"]
    finally:
        apart.exec("head", f"rm -rf {PLACE}")
