from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from farmlet.engine.images import sources
from farmlet.errors import InputError
from farmlet.facility.model import Sources

RELEASE = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
SUITE = RELEASE.get("VERSION_CODENAME", "").strip('"')
debian = pytest.mark.skipif(RELEASE.get("ID") != "debian", reason="reads the mirrors of a Debian host")

URIS = f"""\
'http://deb.example.org/debian/dists/{SUITE}/InRelease' deb.example.org_debian_dists_{SUITE}_InRelease 0
'http://deb.example.org/debian/dists/{SUITE}-updates/InRelease' deb.example.org_debian_dists_{SUITE}-updates_InRelease 0
'http://sec.example.org/debian-security/dists/{SUITE}-security/InRelease' sec.example.org_{SUITE}-security_InRelease 0
'https://other.example.org/tools/dists/stable/InRelease' other.example.org_tools_dists_stable_InRelease 0
'https://other.example.org/back/dists/{SUITE}-backports/InRelease' other.example.org_back_InRelease 0
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def put(folder: Path, name: str, text: str) -> None:
    """A program `name` that prints `text`, and lists its arguments in `name`.args."""
    (folder / f"{name}.out").write_text(text)
    (folder / name).write_text(f'#!/bin/sh\necho "$@" > {folder}/{name}.args\ncat {folder}/{name}.out\n')
    (folder / name).chmod(stat.S_IRWXU)


@debian
def test_the_hosts_own_mirrors(commands: Path) -> None:
    put(commands, "apt-get", URIS)
    assert sources.debian("trixie") == [
        "deb http://deb.example.org/debian trixie main",
        "deb http://deb.example.org/debian trixie-updates main",
        "deb http://sec.example.org/debian-security trixie-security main",
    ]
    assert (commands / "apt-get.args").read_text().split() == ["update", "--print-uris"], "asks, and changes nothing"


@debian
def test_a_host_without_a_mirror_of_its_own(commands: Path) -> None:
    put(commands, "apt-get", "\n".join(URIS.splitlines()[2:]))
    assert sources.debian("trixie") == [], "updates alone are no archive; mmdebstrap's default is used"


def test_the_files_mirror_wins(commands: Path) -> None:
    put(commands, "apt-get", URIS)
    assert sources.debian("trixie", "http://mirror.example.org/debian") == ["deb http://mirror.example.org/debian trixie main"]
    assert not (commands / "apt-get.args").exists()


def test_a_host_without_apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sources.debian("trixie") == [] and sources.apt_options() == []


def test_of_apts_options_those_to_reach_a_mirror(commands: Path) -> None:
    dump = 'APT "";\nAcquire::http::Proxy "http://proxy:3128";\nAcquire::https::Proxy::mirror "DIRECT";\nDir "/";\n'
    put(commands, "apt-config", dump)
    found = sources.apt_options()
    assert 'Acquire::http::Proxy "http://proxy:3128"' in found
    assert not [option for option in found if "Dir" in option or "Valid" in option or option.endswith(";")]


def test_lists_may_be_out_of_date_only_where_this_host_says_so(commands: Path) -> None:
    """A node of a sandbox takes its packages from the mirror of this host, which may be frozen."""
    put(commands, "apt-config", 'Acquire::Check-Valid-Until "false";\n')
    assert sources.apt_options() == ['Acquire::Check-Valid-Until "false"']


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No pip settings but those of a file that is returned."""
    for name in (*sources.PIP_VARIABLES, *sources.BUNDLE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pip.conf").write_text("")
    return tmp_path / "pip.conf"


def test_pips_settings(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare.write_text("[global]\nindex-url = https://index.example.org/simple\ntimeout = 99\n[install]\nno-binary = x\n")
    found = sources.python()
    assert found.environment["PIP_INDEX_URL"] == "https://index.example.org/simple"
    assert "PIP_NO_BINARY" not in found.environment
    monkeypatch.setenv("PIP_INDEX_URL", "https://environment.example.org/simple")
    assert sources.python().environment["PIP_INDEX_URL"] == "https://environment.example.org/simple"
    assert sources.python("https://file.example.org").environment["PIP_INDEX_URL"] == "https://file.example.org"


def test_a_folder_of_this_host_means_nothing_elsewhere(bare: Path) -> None:
    bare.write_text("[global]\nindex-url = file:///srv/wheels\n")
    assert "PIP_INDEX_URL" not in sources.python().environment


def test_npms_registry(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (sources.NPM, sources.NPM.upper()):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sources.npm() == {}, "a host without npm: the default is npm's own"
    (tmp_path / "npm").write_text('#!/bin/sh\n[ "$*" = "config get registry" ] && echo https://npm.example.org/\n')
    (tmp_path / "npm").chmod(0o755)
    assert sources.npm() == {"npm_config_registry": "https://npm.example.org/"}
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://environment.example.org/")
    assert sources.npm() == {"npm_config_registry": "https://environment.example.org/"}
    assert sources.npm("https://file.example.org") == {"npm_config_registry": "https://file.example.org"}
    named = Sources(pip="https://pip.example.org", npm="https://file.example.org")
    found = sources.find(named).environment
    assert (found["PIP_INDEX_URL"], found["npm_config_registry"]) == (named.pip, named.npm)


def test_the_bundle(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, variable, configured = (tmp_path / name for name in ("named.pem", "variable.pem", "configured.pem"))
    for path in (named, variable, configured):
        path.write_text(path.name)
    bare.write_text(f"[global]\ncert = {configured}\n")
    assert sources.python().bundle == b"configured.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(variable))
    assert sources.python().bundle == b"variable.pem"
    assert sources.python(bundle=str(named)).bundle == b"named.pem"
    assert not [name for name, value in sources.python().environment.items() if ".pem" in value], "paths stay here"


def test_a_bundle_that_is_not_there(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        sources.python(bundle=str(tmp_path / "nowhere.pem"))
    assert caught.value.where == "sources.ca" and caught.value.hint


def test_a_mirror_with_a_password_is_refused(bare: Path) -> None:
    """It would be in the image's package sources and in process lists."""
    for ask in (
        lambda: sources.debian("trixie", "http://u:hunter2@example.org/"),
        lambda: sources.python("https://u:hunter2@e.org"),
        lambda: sources.npm("https://u:hunter2@e.org"),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert "hunter2" not in str(caught.value) and caught.value.hint
