"""What part notebooks wants on its node, and what identity does for it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from traitlets.config import Config

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.facility.places import MEMBERSHIP
from farmlet.parts import part
from farmlet.parts.notebooks import checks, editor
from farmlet.parts.notebooks.deploy import HEARD, PART, SECRET
from farmlet.parts.notebooks.hub import configuration
from farmlet.parts.notebooks.hub.settings import Settings
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Command, File, Random, Resource

TEXT = """
farmlet: 1
facility: {name: af, title: Example, domain: af.test}
nodes:
  head: {connect: fake, runs: [access, batch, software, storage, notebooks]}
  service: {connect: fake, runs: [identity, accounts, tokens]}
groups: {lab: {login: true, notebooks: {cores: 2}}}
"""
INDIGO = "identity: {issuer: 'https://iam.test/'}\nnotebooks: {client: our-hub}\n"


def load(more: str = "", text: str = TEXT) -> Facility:
    return loads(text + more, "facility.yaml", part.find())


def configure(role: str, node: str, more: str = "") -> Sequence[Resource]:
    facility = load(more)
    context = Context(facility, facility.nodes[node], Trust(""), "0" * 64)
    name, _, kind = role.partition(".")
    return part.find()[name].role(kind).configure(context)


def read(resources: Sequence[Resource], ending: str) -> str:
    return next(str(one.content) for one in resources if isinstance(one, File) and one.path.endswith(ending))


def test_the_hub_reads_what_is_written_for_it() -> None:
    found = Settings(**json.loads(read(configure("notebooks.hub", "head"), "settings.json")))
    assert (found.origin, found.issuer, found.client) == (
        "https://notebooks.af.test",
        "https://service.af.test",
        "farmlet-notebooks",
    )
    assert max(found.proxy, found.api, found.hub) < 1024  # members take none of them


def test_the_example_is_beside_every_server_and_reads_its_members_file() -> None:
    found = {one.path: str(one.content) for one in configure("notebooks.hub", "head") if isinstance(one, File)}
    notebook = found["/opt/farmlet/notebook/z-peak/z-peak.ipynb"]
    assert "https://head.af.test:8443/users/$USER/z-peak.root" in notebook and "@@" not in notebook
    # all that it imports
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    for module in re.findall(r"^from analysis[.](\w+) ", "\n".join(cells), re.MULTILINE):
        assert f"/opt/farmlet/notebook/z-peak/analysis/{module}.py" in found


def test_servers_end_when_idle_unless_the_file_says_never() -> None:
    for more, seconds in (("", [43200, 86400]), ("notebooks: {idle_hours: 0, silent_hours: 0}\n", [0, 0])):
        settings = Settings(**json.loads(read(configure("notebooks.hub", "head", more), "settings.json")))
        assert [settings.idle, settings.silent] == seconds


def test_secrets_come_by_systemd_and_by_the_agent() -> None:
    resources = configure("notebooks.hub", "head")
    tasks = json.loads(read(resources, "notebooks.hub.json"))
    assert tasks["deliver"]["client-farmlet-notebooks"]["path"] == SECRET
    assert f"LoadCredential=client:{SECRET}" in read(resources, "farmlet-notebooks.service")
    external = json.loads(read(configure("notebooks.hub", "head", INDIGO), "notebooks.hub.json"))
    assert external["deliver"] == {MEMBERSHIP: {"path": HEARD, "mode": "0600"}}
    assert json.loads(read(configure("notebooks.hub", "head", INDIGO), "settings.json"))["client"] == "our-hub"


def test_identity_registers_the_client_and_sends_its_secret_to_the_node() -> None:
    steps = {one.name: one.run for one in configure("identity.provider", "service") if isinstance(one, Command)}
    made = steps["client farmlet-notebooks"]
    assert "--redirect-uri https://notebooks.af.test/hub/oauth_callback --trusted" in made and "--secret-file" in made
    assert "storage" not in made.partition("--redirect-uri")[2]  # who logs in there gives it no rights to data
    assert "/outbox/head/client-farmlet-notebooks" in steps["secret of client farmlet-notebooks"]


def test_tokens_of_notebooks_are_kept_where_notebooks_are() -> None:
    assert "--sessions /run/farmlet-notebooks" in read(configure("tokens.credmon", "head"), "credmon.config")
    facility = load(text=TEXT.replace(", notebooks]", "]"))
    context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
    assert "/run/farmlet-notebooks" not in read(part.find()["tokens"].role("credmon").configure(context), "credmon.config")


def test_it_moves_to_a_node_of_its_own() -> None:
    more = "  desk: {connect: fake, runs: [access, batch, software, notebooks]}\n"
    text = TEXT.replace("storage, notebooks]}\n", f"storage]}}\n{more}")
    facility = load(text=text)
    context = Context(facility, facility.nodes["desk"], Trust(""), "0" * 64)
    resources = part.find()["notebooks"].role("hub").configure(context)
    settings = json.loads(read(resources, "settings.json"))
    # members find it at the same address, and the secret of its client goes there
    assert (facility.host("notebooks.hub").name, settings["origin"]) == ("desk", "https://notebooks.af.test")
    assert "SCHEDD_HOST = desk.af.test" in read(resources, "condor.config")
    server = Context(facility, facility.nodes["service"], Trust(""), "0" * 64)
    steps = "".join(one.run for one in part.find()["identity"].role("provider").configure(server) if isinstance(one, Command))
    assert "/outbox/desk/client-farmlet-notebooks" in steps and "/outbox/head/client-farmlet-notebooks" not in steps


def test_the_hub_keeps_no_secret_of_members_and_has_its_own_from_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = configure("notebooks.hub", "head")
    unit = read(resources, "farmlet-notebooks.service")
    given = dict(re.findall("^LoadCredential=(.+):(.+)$", unit, re.MULTILINE))
    assert sorted(given) == ["client", "cookie", "proxy"] and "Environment" not in unit
    made = {one.path: one for one in resources if isinstance(one, Random)}
    assert {given["cookie"], given["proxy"]} == {*made} and all(one.mode == 0o600 for one in made.values())
    for name in given:
        (tmp_path / name).write_text("ab" * 32)
    (tmp_path / "settings.json").write_text(read(resources, "settings.json"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    config = Config()
    configuration.configure(config, str(tmp_path / "settings.json"))
    # no tokens in its database, so no key for them
    assert config.Entrance.enable_auth_state is False and "CryptKeeper" not in config
    assert config.JupyterHub.cookie_secret_file == str(tmp_path / "cookie")


def test_a_node_without_homes_has_no_notebooks() -> None:
    with pytest.raises(Errors, match=r"notebooks need software\.client"):
        load(text=TEXT.replace("software, storage, notebooks", "storage, notebooks"))


def test_condor_does_not_take_the_address_of_dockers_bridge() -> None:
    for node, expected in (("head", True), ("service", False)):
        role = "batch.access" if node == "head" else "batch.central"
        assert ("include command : /usr/lib/farmlet/condor-address" in read(configure(role, node), "pool.config")) is expected


def test_the_files_are_whole() -> None:
    for one in configure("notebooks.hub", "head"):
        if isinstance(one, File):
            assert "{{" not in str(one.content).replace("{{.", ""), one.path
    assert PART.role("hub").install()


def test_htcondor_in_a_notebook_meets_the_access_point_of_its_node() -> None:
    found, access = read(configure("notebooks.hub", "head"), "condor.config"), configure("batch.access", "head")
    meet = "FS_LOCAL_DIR = /run/farmlet.meet"
    assert meet in found.splitlines() and meet in read(access, "access.config").splitlines()
    assert "SCHEDD_HOST = head.af.test" in found and "COLLECTOR_HOST = service.af.test:9618" in found
    # nobody removes what another one made there, or fills the node's disk
    assert "Options=mode=1777,nosuid,nodev,noexec,size=1M" in read(access, "run-farmlet.meet.mount")


def test_vs_code_is_built_anew_when_what_goes_into_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell() -> tuple[str, str]:
        found = editor.install()
        return str(next(one.content for one in found if isinstance(one, File))), next(
            one.unless for one in found if isinstance(one, Command)
        )

    script, stamp = tell()
    assert editor.DIGEST in script and "--ignore-scripts" in script and "https://" not in script
    assert subprocess.run(["bash", "-n", "-c", script], check=True).returncode == 0
    assert stamp.rpartition("= ")[2].removesuffix(" ]") in script
    monkeypatch.setattr(editor, "VERSION", "4.139.2")
    assert tell()[1] != stamp


def test_the_network_needs_no_chain_that_docker_makes_later() -> None:
    """After a boot Docker has not made DOCKER-USER again, and the Hub would not start."""
    text = read(configure("notebooks.hub", "head"), "notebook-network")
    assert "mangle PREROUTING -i farmlet0 -d 169.254.0.0/16" in text and "DOCKER-" not in text


def test_a_node_tells_which_images_its_servers_run_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = f"farmlet/analysis:{'a' * 12}\nfarmlet/analysis:{'a' * 12}\nfarmlet/unpacked:{'b' * 12}\n"
    monkeypatch.setattr(checks, "run", lambda *words: said)
    assert checks.check_used("docker") == f"in use: analysis-{'a' * 12} unpacked-{'b' * 12}"
    lines = []
    for number, (lower, stamp) in enumerate(
        {"/cvmfs/unpacked/analysis": f"analysis {'c' * 64}\n", f"/x/.flat/dd/{'d' * 64}": ""}.items()
    ):
        root = tmp_path / str(number) / "root"
        (root / "etc").mkdir(parents=True)
        (root / "etc" / "farmlet-image").write_text(stamp)
        lines.append(f"1 2 0:9 / {root} rw,nosuid,nodev shared:7 - overlay overlay rw,lowerdir={lower},upperdir=/u,workdir=/w\n")
    (tmp_path / "mountinfo").write_text("".join(["1 2 0:9 / / rw - overlay overlay rw,lowerdir=/y\n", *lines]))
    monkeypatch.setattr(checks, "ROOTS", re.compile(checks.ROOTS.pattern.replace("/run/farmlet-servers", str(tmp_path))))
    assert checks.check_used("systemd", str(tmp_path / "mountinfo")) == f"in use: analysis-{'c' * 12} {'d' * 64}"
