"""Images of registries for notebooks: which have a server, and that nothing hostile in one is followed by root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.notebooks import deploy
from farmlet.parts.notebooks.hub.foreign import HUB, list_foreign, read_plain
from farmlet.parts.render import render
from farmlet.parts.software.unpacked import area
from farmlet.parts.software.unpacked.unpack import Unpacked

HEX = "ab" * 32
DOCKER = """#!/bin/sh
case "$1 $2" in
"image inspect") [ -e "$STORE/$3" ] ;;
"import --change") for tag; do :; done; mkdir -p "$STORE/farmlet"; tar -t > "$STORE/$tag" ;;
esac
"""


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """An area with images that have a server and that have not; one row leads elsewhere."""
    folder = tmp_path / "unpacked.af.test"
    flat = folder / ".flat" / "ab" / HEX
    for name in ("etc", "usr/bin"):
        (flat / name).mkdir(parents=True)
    (flat / "usr/bin/jupyterhub-singleuser").write_text("")
    (folder / "reg.test").mkdir()
    for name in ("lab:1", "plain:1", "old:1"):
        (folder / "reg.test" / name).symlink_to(f"../.flat/ab/{HEX}")
    (folder / "reg.test" / "away:1").symlink_to("/etc")
    hubs = {"lab:1": HUB, "plain:1": "", "old:1": "4.1.6", "away:1": HUB}
    images.save([Row(f"reg.test/{name}", offered=True, hub=hub, tested=1.0) for name, hub in hubs.items()], folder)
    return folder


def test_those_with_a_server_of_the_same_version_may_be_chosen(shown: Path) -> None:
    found = {one.label: one for one in list_foreign(str(shown))}
    assert list(found) == ["reg.test/lab:1", "reg.test/plain:1", "reg.test/old:1"], "and none that leads elsewhere"
    one = found["reg.test/lab:1"]
    assert (one.why, one.tag, one.path) == ("", "farmlet/unpacked:abababababab", "/usr/local/bin:/usr/bin:/bin")
    assert "no jupyterhub-singleuser" in found["reg.test/plain:1"].why and "JupyterHub 4.1.6" in found["reg.test/old:1"].why
    place = one.root / ".singularity.d" / "env"
    place.mkdir(parents=True)
    (place / "10-docker2singularity.sh").write_text("#!/bin/sh\nexport PATH=/opt/conda/bin:/usr/bin\n")
    assert one.path == "/opt/conda/bin:/usr/bin"
    assert list(list_foreign("")) == []


def test_no_link_in_an_image_is_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "passwd").write_text("root's")
    for name in ("link", "folder", "pipe", "plain"):
        (tmp_path / name / "etc").mkdir(parents=True)
    (tmp_path / "link" / "etc" / "passwd").symlink_to(tmp_path / "secret" / "passwd")
    (tmp_path / "folder" / "etc").rmdir()
    (tmp_path / "folder" / "etc").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe" / "etc" / "passwd")
    (tmp_path / "plain" / "etc" / "passwd").write_text("theirs")
    said = {name: read_plain(tmp_path / name, "etc", "passwd") for name in ("link", "folder", "pipe", "plain")}
    assert said == {"link": "", "folder": "", "pipe": "", "plain": "theirs"}


def test_docker_gets_those_with_a_server_whole(shown: Path, tmp_path: Path) -> None:
    flat = shown / ".flat" / "ab" / HEX
    (flat / "etc" / "shadow").symlink_to("/etc/shadow")
    base = tmp_path / "unpacked" / ".images" / "analysis-0123456789ab"
    (base / "etc").mkdir(parents=True)
    (base / "usr").mkdir()
    (base / "usr" / "much").touch()
    (base / "etc" / "farmlet-image").write_text(f"analysis 0123456789ab{'0' * 52}\n")
    images.save([], tmp_path / "unpacked")
    words = {"folder": str(tmp_path / "unpacked"), "unpacked": str(shown), "hub": deploy.find_hub()}
    (tmp_path / "image.sh").write_text(render(deploy.PACKAGE, "image.sh", **words))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "STORE": str(tmp_path)}
    said = subprocess.run(["bash", tmp_path / "image.sh"], env=environment, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["farmlet/analysis:0123456789ab", "farmlet/unpacked:abababababab"]
    assert "usr/much" not in (tmp_path / "farmlet/analysis:0123456789ab").read_text()
    assert {"./usr/bin/jupyterhub-singleuser", "./etc/shadow"} <= {
        *(tmp_path / "farmlet/unpacked:abababababab").read_text().split()
    }


@pytest.mark.parametrize(
    ("said", "hub"),
    [("6.1.1\n", "6.1.1"), ("a word\n6.0.0\n", "6.0.0"), ("", ""), ("6.1\n<b>\n", ""), ("6" * 40, ""), ("6.1\n\n", "")],
    ids=["it", "after words", "none", "markup", "long", "blank"],
)
def test_what_an_image_says_of_its_server(monkeypatch: pytest.MonkeyPatch, said: str, hub: str) -> None:
    monkeypatch.setattr(area.trial, "enter", lambda *words: said)
    assert area.start(Unpacked(Path("/"), 0, (), 0, True)) == hub
    assert area.start(Unpacked(Path("/"), 0, (), 0, False)) == ""


def test_the_look_for_a_server_goes_by_the_images_variables(tmp_path: Path) -> None:
    """As `sh -c` runs it inside; here without a root of its own."""
    for name, text in (("jupyterhub-singleuser", "#!/bin/sh\n"), ("python3", "#!/bin/sh\necho 6.9.9\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for path, expected in ((f"{tmp_path}:/usr/bin:/bin", "6.9.9\n"), ("/usr/bin:/bin", "")):
        done = subprocess.run(["/bin/sh", "-c", area.SERVER], env={"PATH": path}, capture_output=True, text=True, check=True)
        assert done.stdout == expected
