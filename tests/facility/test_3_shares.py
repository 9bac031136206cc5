"""A job runs in an accounting group of its owner's, by the rights table; who is nobody here reads no queue."""

from __future__ import annotations

import shlex

import pytest
from person import Person
from sandbox import Sandbox, until

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


# The daemons' addresses are known: no collector need be asked where they are. $1 the collector, $2 a schedd, $3 a startd
LOOK = """
cd $(mktemp -d); exec 2> /dev/null
(echo "$2"; condor_version) > address
export _CONDOR_SCHEDD_ADDRESS_FILE=$PWD/address _CONDOR_SCHEDD_DAEMON_AD_FILE=
look() { name=$1; shift; timeout 20 "$@" > said && [ -s said ] && echo "$name" || true; }
look collector condor_status -pool "$1" -any -af Name
look queue condor_q -allusers -af Owner Args
look slots condor_status -direct "$3" -af Name
look schedd condor_status -schedd -direct "$2" -af Name
"""
ASKED = ["collector", "queue", "slots", "schedd"]
WAYS = [
    "CLIENT_AUTHENTICATION_METHODS=ANONYMOUS,CLAIMTOBE,FS,IDTOKENS",
    "CLIENT_AUTHENTICATION=NEVER",
    "CLIENT_AUTHENTICATION=OPTIONAL",
]


def test_who_is_nobody_here_reads_nothing_and_members_what_they_need(sandbox: Sandbox, running: Sandbox) -> None:
    rita, pool = Person.join(sandbox, "rita", "lab"), f"service.{sandbox.domain}:9618"
    until(lambda: rita.try_ssh("true").returncode == 0, 30)
    until(lambda: "rita" in sandbox.exec("head", "cat /etc/condor/farmlet-groups.map; ls /var/lib/farmlet/batch/readers"), 15)
    rita.ssh("printf 'executable = /bin/true\\nhold = true\\nqueue\\n' | condor_submit -terse -")
    until(lambda: rita.try_ssh("condor_status").returncode == 0, 15)
    addresses = [sandbox.exec("service", f"condor_status -{kind} -af MyAddress | head -n 1") for kind in ("schedd", "startd")]
    look = shlex.join(["sh", "-c", LOOK, "look", pool, *addresses])
    assert rita.ssh(look).splitlines() == ASKED
    assert rita.ssh("condor_q -global -af Owner | sort -u").splitlines() == ["rita"]
    # what a member can copy reads, and does nothing else
    for right in ("WRITE", "ADVERTISE_STARTD", "ADMINISTRATOR", "DAEMON", "NEGOTIATOR"):
        said = rita.try_ssh(f"condor_ping -pool {pool} -type COLLECTOR {right}")
        assert said.returncode and "failed" in said.stdout, said

    for way in WAYS:
        assert not sandbox.exec("tier1", f"runuser -u drone -- env _CONDOR_SEC_{way} {look}"), way
    rita.ssh("condor_rm -all")
