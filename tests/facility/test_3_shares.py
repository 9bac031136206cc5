"""A job runs in an accounting group of its owner's, by the rights table."""

from __future__ import annotations

import pytest
from conftest import Sandbox, until
from person import Person

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
SUBMIT = "printf 'executable = /bin/true\\nhold = true\\n{more}\\nqueue\\n' | condor_submit -terse - && condor_q -af AcctGroup"


def test_jobs_run_in_their_owners_groups_only(sandbox: Sandbox, running: Sandbox) -> None:
    paul = Person.join(sandbox, "paula", "lab/production")
    until(lambda: paul.try_ssh("true").returncode == 0, 30)
    until(lambda: "paula" in sandbox.exec("head", "cat /etc/condor/farmlet-groups.map"), 15)
    assert paul.ssh(SUBMIT.format(more="")).splitlines()[-1] == "lab_production"
    assert paul.ssh(SUBMIT.format(more="accounting_group = lab")).splitlines()[-1] == "lab"
    refused = paul.try_ssh(SUBMIT.format(more="accounting_group = other"))
    assert refused.returncode and "Permission denied setting accounting_group" in refused.stderr
    # what the job says afterwards counts no more
    assert paul.try_ssh("condor_qedit -owner paula AcctGroup '\"other\"'").returncode
    sandbox.run("user", "join", "paula", "--group", "lab")
    sandbox.run("user", "leave", "paula", "--group", "lab/production")
    until(lambda: "paula lab\n" in sandbox.exec("head", "cat /etc/condor/farmlet-groups.map") + "\n", 15)
    until(lambda: paul.ssh(SUBMIT.format(more="")).splitlines()[-1] == "lab", 15)
    paul.ssh("condor_rm -all")
    parts = sandbox.exec("service", "condor_config_val GROUP_QUOTA_DYNAMIC_lab GROUP_QUOTA_DYNAMIC_lab_production").split()
    assert sum(map(float, parts)) == pytest.approx(1.0, abs=0.001)
