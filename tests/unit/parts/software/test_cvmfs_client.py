"""The settings that are rendered for the CVMFS client, read as it reads them: by a shell, one file after another."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from farmlet.facility.load import loads
from farmlet.parts import part
from farmlet.parts.part import Context, Trust
from farmlet.parts.resources import Absent, Command, Directory, File, Packages, Resource, Unit, Wanted
from farmlet.parts.software.cvmfs import client
from farmlet.parts.software.cvmfs.client import find_room, name_unit
from farmlet.parts.software.deploy import PART
from farmlet.parts.vendor import Source, write_source

KEYS = "".join(f"      -----BEGIN PUBLIC KEY-----\n      MII{one}\n      -----END PUBLIC KEY-----\n" for one in "ab")
TEXT = f"""
farmlet: 1
facility: {{name: af, title: Example, domain: af.test}}
nodes:
  head: {{connect: CONNECT, runs: [access, batch, software, notebooks, storage]}}
  service: {{connect: CONNECT, runs: [identity, accounts, tokens]}}
groups: {{lab: {{login: true}}}}
software:
  cvmfs:
    repositories: [lab-one.example.org, two.example.org, sft.example.net]
    proxies: ["http://a.example.org:3128|http://b.example.org:3128", DIRECT]
    quota: 20G
    domains:
      example.org:
        servers: ["http://s1.example.org/cvmfs/@fqrn@", "http://s2.example.org:8000/cvmfs/@fqrn@"]
        keys: |
{KEYS.replace("      ", "          ")}"""
# what the client and its vendor's package bring
VENDOR = {
    "default.conf": "CVMFS_QUOTA_LIMIT=4000\nCVMFS_STRICT_MOUNT=no\nCVMFS_KEYS_DIR=/etc/cvmfs/keys\nCVMFS_NFILES=131072\n",
    "default.d/50-vendor.conf": "CVMFS_CONFIG_REPOSITORY=config.example.net\nCVMFS_DEFAULT_DOMAIN=example.net\n",
    "domain.d/example.net.conf": 'CVMFS_SERVER_URL="http://v.example.net/cvmfs/@fqrn@"\nCVMFS_KEYS_DIR=/etc/cvmfs/keys/example.net\n',
    "domain.d/example.org.conf": 'CVMFS_SERVER_URL="http://old.example.net/cvmfs/@fqrn@"\n',
}
# the client's order; the repository of settings would come in between, were there one
READ = """
domain=${1#*.}
for file in default.conf default.d/*.conf default.local domain.d/$domain.conf domain.d/$domain.local config.d/$1.conf \\
  config.d/$1.local
do if [ -e "$file" ]; then . "./$file"; fi; done
set | sed -n "s/^\\(CVMFS_[A-Z_]*\\)='\\(.*\\)'$/\\1=\\2/p"
"""


def configure(node: str = "head", connect: str = "fake", text: str = TEXT) -> list[Resource]:
    facility = loads(text.replace("CONNECT", connect), "facility.yaml", part.find())
    context = Context(facility, facility.nodes[node], Trust(""), "0" * 64)
    return list(client.configure(context))


def settle(folder: Path, found: list[Resource]) -> None:
    """The vendor's files below `folder`, then ours."""
    ours = {one.path.removeprefix("/etc/cvmfs/"): one.data.decode() for one in found if isinstance(one, File)}
    assert not VENDOR.keys() & ours.keys()  # what a package brings is its own
    for name, text in (VENDOR | ours).items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(folder: Path, repository: str) -> dict[str, str]:
    done = subprocess.run(["sh", "-euc", READ, "sh", repository], cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_the_client_reads_what_the_file_says(tmp_path: Path) -> None:
    settle(tmp_path, configure())
    own, vendors = read(tmp_path, "lab-one.example.org"), read(tmp_path, "sft.example.net")
    for found in (own, vendors):
        assert found["CVMFS_REPOSITORIES"] == "lab-one.example.org,two.example.org,sft.example.net"
        assert found["CVMFS_HTTP_PROXY"] == "http://a.example.org:3128|http://b.example.org:3128;DIRECT"
        assert found["CVMFS_QUOTA_LIMIT"] == "20480"
        assert found["CVMFS_STRICT_MOUNT"] == "yes"
        assert found["CVMFS_CONFIG_REPOSITORY"] == ""
        assert int(found["CVMFS_NFILES"]) == client.OPEN_FILES
    assert own["CVMFS_SERVER_URL"] == "http://s1.example.org/cvmfs/@fqrn@;http://s2.example.org:8000/cvmfs/@fqrn@"
    assert own["CVMFS_KEYS_DIR"] == "/etc/cvmfs/keys/farmlet-example.org"
    assert vendors["CVMFS_SERVER_URL"] == "http://v.example.net/cvmfs/@fqrn@"
    assert vendors["CVMFS_KEYS_DIR"] == "/etc/cvmfs/keys/example.net"


def test_the_reader_sees_what_is_not_in_quotes(tmp_path: Path) -> None:
    """So that the test above means something: each of these is a mistake that the client says nothing of."""
    settle(tmp_path, configure())
    path = tmp_path / "default.local"
    path.write_text(path.read_text().replace('"', ""))
    done = subprocess.run(["sh", "-c", READ, "sh", "x.example.net"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "CVMFS_HTTP_PROXY=http://a.example.org:3128|" not in done.stdout


def test_no_line_depends_on_what_a_shell_makes_of_it() -> None:
    for one in configure():
        if isinstance(one, File) and one.path.startswith("/etc/cvmfs/") and not one.path.endswith(".pub"):
            for line in one.data.decode().splitlines():
                assert line.startswith("#") or re.fullmatch(r'[A-Z_]+="[^"$`\\]*"', line)


def test_each_key_is_a_file_that_the_client_may_read() -> None:
    keys = [one for one in configure() if isinstance(one, File) and one.path.endswith(".pub")]
    assert [one.path for one in keys] == [f"/etc/cvmfs/keys/farmlet-example.org/{number}.pub" for number in (1, 2)]
    assert all(one.mode == 0o644 and one.data.decode().count("BEGIN") == 1 for one in keys)


def test_mounts_have_systemd_s_names_and_the_open_files(tmp_path: Path) -> None:
    found = configure()
    units = [one.name for one in found if isinstance(one, Unit)]
    assert units[0] == "cvmfs-lab\\x2done.example.org.automount"
    for name in ("lab-one.example.org", "sft.example.net"):
        said = subprocess.run(["systemd-escape", "-p", f"/cvmfs/{name}"], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == name_unit(name)
    files = {one.path: one.data.decode() for one in found if isinstance(one, File)}
    mount = files["/etc/systemd/system/cvmfs-lab\\x2done.example.org.mount"]
    assert "What=lab-one.example.org\nWhere=/cvmfs/lab-one.example.org\nType=cvmfs\n" in mount
    assert f"LimitNOFILE={client.OPEN_FILES}\n" in mount
    folder = tmp_path / "units"
    folder.mkdir()
    paths = []
    for path, text in files.items():
        if path.startswith("/etc/systemd/system/"):
            paths.append(folder / Path(path).name)
            paths[-1].write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", *map(str, paths)], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if str(folder) in line or "Unknown" in line], done.stderr


def test_new_settings_make_no_mount_anew() -> None:
    """Nor does a repository that is added at the end: what begins anew while it is open cannot be mounted again."""
    before = stamp(configure())
    for old, new in (
        ("20G", "21G"),
        ("a.example.org", "c.example.org"),
        ("MIIa", "MIIc"),
        ("sft.example.net]", "sft.example.net, x.y]"),
    ):
        assert old in TEXT
        after = stamp(configure(text=TEXT.replace(old, new)))
        assert before.items() <= after.items(), old
        assert configure()[-1] == configure(text=TEXT.replace(old, new))[-1] or "x.y" in new


def stamp(found: list[Resource]) -> dict[str, str]:
    """What of each unit is compared, to see whether it has to begin anew."""
    wanted = Wanted("software.client", tuple(found))
    return {one.name: wanted.fingerprint(one) for one in found if isinstance(one, Unit)}


def is_room(one: Resource) -> bool:
    return isinstance(one, Command) and one.name == "room for CVMFS"


def test_a_cache_that_does_not_fit_is_refused_before_anything_is_installed() -> None:
    found = configure()
    room = next(number for number, one in enumerate(found) if is_room(one))
    package = next(number for number, one in enumerate(found) if isinstance(one, Packages))
    assert room < package < found.index(Absent(client.AUTOFS))
    command = found[room]
    assert isinstance(command, Command) and "-ge 24576 ]" in command.unless
    for need, code in ((1, 0), (1 << 40, 1)):
        assert subprocess.run(["sh", "-c", find_room(need)], check=False).returncode == code
    done = subprocess.run(["sh", "-c", command.run], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "lower software.cvmfs.quota" in done.stderr


@pytest.mark.parametrize(("node", "connect"), [("head", "container"), ("service", "fake")])
def test_containers_and_nodes_without_a_client_have_none_of_it(node: str, connect: str) -> None:
    text = TEXT.replace("tokens]", "tokens, software.build]")
    facility = loads(text.replace("CONNECT", connect), "facility.yaml", part.find())
    context = Context(facility, facility.nodes[node], Trust(""), "0" * 64)
    role = PART.role("client")
    if node == "head":
        assert client.configure(context) == ()
        assert [one.name for one in role.checks(context)] == ["software.run"]
        assert role.metrics(context) == ()
    else:
        assert f"software.{role.name}" not in facility.nodes[node].roles


def test_where_others_mount_over_the_network_there_are_folders_for_it() -> None:
    def points(text: str, connect: str = "fake") -> list[str]:
        facility = loads(text.replace("CONNECT", connect), "facility.yaml", part.find())
        return [
            one.path
            for one in client.list_points(Context(facility, facility.nodes["service"], Trust(""), ""))
            if isinstance(one, Directory)
        ]

    assert points(TEXT) == [f"/cvmfs/{name}" for name in ("lab-one.example.org", "two.example.org", "sft.example.net")]
    assert points(TEXT, "container") == []
    # what is mounted there would be looked at, and is nobody's to change
    both = TEXT.replace("batch, software,", "batch, software.client,").replace(
        "tokens]", "tokens, software.build, software.client]"
    )
    assert points(both) == []


def test_checks_and_metrics_of_a_host() -> None:
    facility = loads(TEXT.replace("CONNECT", "fake"), "facility.yaml", part.find())
    context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
    checks = {one.name: one for one in PART.role("client").checks(context)}
    assert not checks["software.cvmfs"].external
    one = checks["software.cvmfs.two.example.org"]
    assert one.external and one.after == ("software.cvmfs",)
    assert one.args["proxies"] == ["http://a.example.org:3128", "http://b.example.org:3128", "DIRECT"]
    (metric,) = PART.role("client").metrics(context)
    assert metric.args == {"repositories": ["lab-one.example.org", "two.example.org", "sft.example.net"]}


def test_slots_and_notebooks_of_a_host_have_what_it_mounts() -> None:
    facility = loads(TEXT.replace("CONNECT", "fake"), "facility.yaml", part.find())
    context = Context(facility, facility.nodes["head"], Trust(""), "0" * 64)
    parts: dict[str, Any] = part.find()
    texts = [
        one.data.decode()
        for role in (parts["batch"].role("execute"), parts["notebooks"].role("hub"))
        for one in role.configure(context)
        if isinstance(one, File)
    ]
    assert any("\nHasCVMFS_lab_one_example_org = True\nSTARTD_ATTRS = $(STARTD_ATTRS) Has" in text for text in texts)
    assert any('"mounted": "ro,rslave"' in text for text in texts)


def test_the_package_source_is_one_that_apt_reads(tmp_path: Path) -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQIN\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n"
    text = write_source(Source(url="https://packages.example.org/apt", suite="trixie-prod", key=key))
    assert "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQIN\n" in text
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/farmlet-cvmfs.sources").write_text(text)
    options = [f"-oDir::Etc::sourceparts={tmp_path}/parts", "-oDir::Etc::sourcelist=/dev/null", f"-oDir::State={tmp_path}"]
    done = subprocess.run(["apt-get", *options, "--print-uris", "update"], capture_output=True, text=True, check=True)
    assert "'https://packages.example.org/apt/dists/trixie-prod/InRelease'" in done.stdout
