"""The credential monitor, on every access point."""

from __future__ import annotations

import json
from collections.abc import Sequence

from farmlet.parts import units
from farmlet.parts.part import Check, Context, Leave, Part, Role
from farmlet.parts.render import render
from farmlet.parts.resources import Command, Directory, File, Resource, Unit
from farmlet.parts.tokens.config import Tokens

PACKAGE = "farmlet.parts.tokens"
PYTHON = f"{units.NODE}/bin/python"
PROGRAM = "/usr/lib/farmlet/credmon"
STORE = "/usr/sbin/condor_store_cred"
FOLDER = "/var/lib/condor/oauth_credentials"
ENDING = {"call": f"{PACKAGE}.ending:apply", "args": {"folder": FOLDER}}


def configure_credmon(context: Context) -> Sequence[Resource]:
    return (
        Directory(FOLDER, 0o2770, "root", "condor"),
        Directory("/usr/lib/farmlet"),
        File(PROGRAM, render(PACKAGE, "credmon.sh", python=PYTHON), 0o755),
        File(
            "/etc/condor/config.d/50-farmlet-credmon.config",
            render(PACKAGE, "credmon.config", folder=FOLDER, program=PROGRAM, issuer=context.facility.issuer),
        ),
        Unit("condor.service"),
        Directory("/etc/farmlet/agent.d"),
        File("/etc/farmlet/agent.d/tokens.credmon.json", json.dumps({"apply": {"accounts": ENDING}}, indent=1) + "\n"),
        # Debian keeps it where only root looks; members hand over their credential with it
        Command("condor_store_cred for members", f"ln -sf {STORE} /usr/local/bin/", "test -x /usr/local/bin/condor_store_cred"),
    )


def check_credmon(context: Context) -> Sequence[Check]:
    return (Check("tokens.credmon", f"{PACKAGE}.checks:check_credmon", {"folder": FOLDER}),)


PART = Part(
    name="tokens",
    summary="access tokens of jobs, kept fresh",
    section=Tokens,
    needs=("base", "batch", "identity"),
    roles=(
        Role(
            "credmon",
            "members",
            configure_credmon,
            checks=check_credmon,
            data=(FOLDER,),
            with_role="batch.access",
            leave=Leave(),  # what is stored serves the jobs of this access point
            # tokens that look old are renewed at the next pass, within a minute; none is missing meanwhile
            forget=f"find {FOLDER} -name '*.use' -exec touch -d @0 {{}} +",
        ),
    ),
)
