"""What part storage wants, and what it must never want."""

from __future__ import annotations

import http.server
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.errors import InputError
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.part import find
from farmlet.parts.resources import Absent, Certificate, Command, Directory, File, Packages
from farmlet.parts.storage import checks, element
from farmlet.parts.storage.deploy import PART
from farmlet.parts.storage.groups import write_table
from farmlet.runtime.checks import Failed
from waiting import Silent, serve


def files() -> dict[str, str]:
    found = element.configure("se.af.test", "https://id.af.test", "af", {"facility": "CA\n", "site-x": "OTHER\n", "none": ""})
    return {resource.path: resource.data.decode() for resource in found if isinstance(resource, File)}


def test_tokens_decide_alone() -> None:
    server = re.sub(r"#.*", "", files()[element.CONFIG])
    # a second module, a table of users or macaroons could grant what the token does not
    assert re.findall(r"^ofs\.authlib.*$", server, re.M) == [f"ofs.authlib libXrdAccSciTokens.so config={element.TOKENS}"]
    assert "ofs.authorize\n" in server
    assert "acc.authdb" not in server
    assert "acaroon" not in server


def test_audience_issuer_and_strategy() -> None:
    tokens = dict(line.split(" = ", 1) for line in files()[element.TOKENS].splitlines() if " = " in line)
    assert tokens["audience"].split(", ") == ["https://wlcg.cern.ch/jwt/v1/any", "https://se.af.test:8443"]
    assert tokens["issuer"] == "https://id.af.test"  # compared as text: no slash at the end
    assert tokens["authorization_strategy"] == "capability"
    assert tokens["onmissing"] == "deny"


def test_headers_that_change_what_is_stored_reach_the_plug_in_that_refuses() -> None:
    server = re.sub(r"#.*", "", files()[element.CONFIG])
    assert re.findall(r"^ *http\.header2cgi (\S+) farmlet\.header$", server, re.M) == [*element.REFUSED]
    # the first handler that wants a path has it: names are judged before a copy begins
    assert re.findall(r"^ *http\.exthandler (\S+)", server, re.M) == ["webdav", "xrdtpc"]


RIGHTS = Table(
    {
        "lab": GroupRights(read=("/public", "/data/shared"), write=("/users/{user}",)),
        "lab/production": GroupRights(write=("/data",)),
        "guests": GroupRights(read=("/",)),
        "admins": GroupRights(administer=True),
    }
)


def test_with_an_external_issuer_groups_decide_and_scopes_do_not() -> None:
    table = write_table(RIGHTS, {path: f"/vo/{path}" for path in RIGHTS.groups})
    found = element.configure("se.af.test", "https://iam.example.org/", "af", {}, table)
    texts = {resource.path: resource.data.decode() for resource in found if isinstance(resource, File)}
    tokens = dict(line.split(" = ", 1) for line in texts[element.TOKENS].splitlines() if " = " in line)
    assert tokens["authorization_strategy"] == "group"
    assert tokens["onmissing"] == "passthrough"  # to the table, which is asked in no other way
    assert tokens["issuer"] == "https://iam.example.org/"
    assert "capability" not in texts[element.TOKENS] and "mapping" not in texts[element.TOKENS]
    server = re.sub(r"#.*", "", texts[element.CONFIG])
    assert re.findall(r"^(?:ofs\.authlib|acc\.).*$", server, re.M) == [
        f"ofs.authlib ++ libXrdAccSciTokens.so config={element.TOKENS}",
        f"acc.authdb {element.GROUPS}",
    ]
    # nothing for users, hosts or anybody; the longest path first; what holds {user} is given to nobody
    assert re.sub(r"#.*\n", "", texts[element.GROUPS]) == (
        "g /vo/lab /data/shared/ rl /public/ rl\ng /vo/lab/production /public/ rl /data/ a\ng /vo/guests / rl\n"
    )


def test_with_our_own_issuer_there_is_no_table_of_groups() -> None:
    found = element.configure("se.af.test", "https://id.af.test", "af", {})
    assert Absent(element.GROUPS) in found
    assert "group" not in re.sub(r"#.*", "", files()[element.TOKENS])


@pytest.mark.parametrize("path", ["/a#b", "/@=", "/a,b"])
def test_a_path_that_means_something_else_in_the_table_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot stand"):
        write_table(Table({"lab": GroupRights(read=(path,))}), {"lab": "/lab"})


def test_authorities_are_hashed_and_others_go() -> None:
    found = files()
    assert found[f"{element.AUTHORITIES}/farmlet-facility.pem"] == "CA\n"
    assert found[f"{element.AUTHORITIES}/farmlet-site-x.pem"] == "OTHER\n"
    assert f"{element.AUTHORITIES}/farmlet-none.pem" not in found
    step = next(resource for resource in element.trust({"facility": "CA"}) if isinstance(resource, Command))
    assert "! -name farmlet-facility.pem -delete" in step.run
    assert "openssl rehash" in step.run


def test_key_and_data_are_the_servers_own() -> None:
    found = element.configure("se.af.test", "https://id.af.test", "af", {})
    certificate = next(resource for resource in found if isinstance(resource, Certificate))
    assert (certificate.names, certificate.owner, certificate.mode) == (("se.af.test",), "xrootd", 0o400)
    folders = {resource.path: resource for resource in found if isinstance(resource, Directory)}
    for path in (element.DATA, f"{element.DATA}/users", f"{element.DATA}/data"):
        # members have accounts on this node: their way to the files is the server
        assert (folders[path].owner, folders[path].group, folders[path].mode) == ("root", "xrootd", 0o1770)
    assert {role.name: role.ports for role in PART.roles} == {"element": (1094, 8443), "client": (), "probe": ()}


class Open(Silent):
    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    do_PUT = do_GET


@pytest.fixture
def door() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Open)
    with serve(server):
        yield server


@pytest.mark.parametrize("status, fine", [(403, True), (401, True), (200, False), (201, False), (500, False)])
def test_check_finds_an_open_door(door: http.server.HTTPServer, tmp_path: Path, status: int, fine: bool) -> None:
    door.status = status  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{door.server_port}"
    if fine:
        assert "refuses" in checks.check_strangers(url, str(tmp_path))
    else:
        with pytest.raises(Failed, match=str(status)):
            checks.check_strangers(url, str(tmp_path))


def test_check_finds_an_authority_that_is_not_hashed(tmp_path: Path) -> None:
    (tmp_path / "farmlet-a.pem").touch()
    with pytest.raises(Failed, match=r"farmlet-a\.pem"):
        checks.check_client(str(tmp_path), ["farmlet-a.pem"])


def test_the_version_of_a_program_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks ask each few seconds, and each question is a process."""
    program = tmp_path / "xrdcp"
    program.write_text("#!/bin/sh\necho >> $0.asked\necho v1\n")
    program.chmod(0o755)
    monkeypatch.setattr(checks, "XRDCP", str(program))
    assert checks.check_client(str(tmp_path), []) == checks.check_client(str(tmp_path), []) == f"v1, 0 authorities in {tmp_path}"
    assert Path(f"{program}.asked").read_text() == "\n"


def test_the_element_forgets_where_its_unit_keeps_keys() -> None:
    unit = files()[f"/etc/systemd/system/{element.UNIT}"]
    folder = re.search(r"^Environment=XDG_CACHE_HOME=(.+)$", unit, re.M)
    assert folder is not None and f"rm -rf {folder[1]}/scitokens" in element.FORGET
    assert f"CacheDirectory={element.CACHE}\n" in unit and PART.role("element").forget == element.FORGET


def test_the_compiler_comes_before_packages_of_another_suite() -> None:
    """Those bring a C library that Debian 13's compilers cannot be installed beside."""
    order = list(find())
    assert order.index("storage") < order.index("software")
    assert any("g++" in item.names for item in element.install() if isinstance(item, Packages))
