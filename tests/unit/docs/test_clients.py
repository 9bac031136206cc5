"""An administrator's one paste makes the clients as the facility needs them, at the stand-in for an INDIGO IAM."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tools import reference

from farmlet.parts.accounts import outside
from farmlet.parts.identity.registrations import JOB, MEMBER
from indigo import ADMIN, PASSWORD, Iam


def test_the_paste_makes_the_clients_as_the_checks_want_them(tmp_path: Path) -> None:
    iam = Iam()
    try:
        iam.clients.known.clear()
        script = re.findall(r"```bash\n(.*?)```", (reference.FOLDER / "clients.md").read_text(), re.DOTALL)[0]
        script = script.replace("https://iam.example.org", iam.base.rstrip("/"))
        # by standard input as from a terminal: what runs there asks for user name and password
        (tmp_path / "paste").write_text(script)
        done = subprocess.run(
            ["bash", "-e", tmp_path / "paste"], input=f"{ADMIN}\n{PASSWORD}\n", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done
        made = {row["client_id"]: row for row in map(json.loads, re.findall(r"^\{.*\}$", done.stdout, re.MULTILINE))}
        assert list(made) == ["farmlet-accounts", "farmlet", "batch", "farmlet-notebooks"]
        assert all(made[name]["reuse_refresh_token"] for name in ("farmlet", "batch"))
        hub = made["farmlet-notebooks"]
        assert hub["redirect_uris"] == ["https://notebooks.af.example.org/hub/oauth_callback"] and hub["client_secret"]
        (tmp_path / "secret").write_text(made["farmlet-accounts"]["client_secret"])
        outside.check_reader(issuer=iam.issuer, client="farmlet-accounts", secret=str(tmp_path / "secret"))
        login = {"id": "farmlet", "use": "farmlet login", "scope": " ".join(MEMBER)}
        jobs = {"id": "batch", "use": "jobs", "scope": " ".join(JOB)}
        outside.check_clients(issuer=iam.issuer, clients=[login, jobs])
        assert not list(tmp_path.glob("tmp.*")), "the session goes"
    finally:
        iam.close()


def test_the_how_to_has_what_an_administrator_ticks() -> None:
    text = (reference.FOLDER.parent / "howto/admin/indigo.md").read_text()
    for word in (
        "Reuse refresh token",
        "introspection",
        "validity",
        "`wlcg`",
        "device code",
        "scim:read",
        "reference/clients.md",
    ):
        assert word in text, word
