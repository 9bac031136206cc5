"""What is published, packed by the real tools, served by http, and fetched by hosts and drones that do not share it."""

from __future__ import annotations

import functools
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.software.sharing import mirror as module
from farmlet.parts.software.sharing.mirror import Mirror
from farmlet.parts.software.sharing.pack import Packer
from farmlet.runtime import published
from farmlet.runtime.published import Index, Lack, Store

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Of a file that is named in `slow`, the first half, and no more for a while."""

    slow = ""

    def log_message(self, *words: object) -> None:
        pass

    def copyfile(self, source: object, outputfile: object) -> None:
        data = source.read()  # type: ignore[attr-defined]
        half = len(data) // 2 if Path(self.path).name == self.slow else len(data)
        outputfile.write(data[:half])  # type: ignore[attr-defined]
        if half < len(data):
            outputfile.flush()  # type: ignore[attr-defined]
            time.sleep(20)


class Estate:
    """The node that publishes, a host with a / of its own below `top`, and how it goes from here to there."""

    def __init__(self, place: Path) -> None:
        self.place, self.cvmfs, self.files, self.top = place, place / "cvmfs", place / "files", place / "host"
        self.url = ""
        for folder in (self.files, self.cvmfs / "unpacked/.images", self.cvmfs / "lab.test/certificates", self.top):
            folder.mkdir(parents=True)
        (self.cvmfs / "lab.test/certificates/ca.pem").write_text("an authority")
        (self.cvmfs / "lab.test/certificates/ab.0").symlink_to("ca.pem")

    def publish(self, name: str, content: str) -> Path:
        """An image whose `marker` is `content`, offered under its name."""
        root = self.cvmfs / f"unpacked/.images/{name}-{content}"
        (root / "etc").mkdir(parents=True)
        (root / "marker").write_text(content)
        (root / "marker").chmod(0o640)
        os.chown(root / "marker", 0, 12)
        (root / "link").symlink_to("/etc")
        link = self.cvmfs / f"unpacked/{name}"
        link.unlink(missing_ok=True)
        link.symlink_to(f".images/{root.name}")
        rows = images.load(self.cvmfs / "unpacked") | {name: Row(name, offered=True, path=str(link), digest=content)}
        images.save(rows.values(), self.cvmfs / "unpacked")
        return root

    def pack(self) -> Index:
        lists = [self.cvmfs / "unpacked", self.cvmfs / "unpacked.lab.test"]
        failed = Packer(self.files, [str(one) for one in lists], [str(self.cvmfs / "lab.test")]).run()
        assert not failed
        text = (self.files / "index.json").read_text().replace(f'"{self.place}', '"')
        (self.files / "index.json").write_text(text)  # the host has another /
        return Index(text.encode())

    def store(self, name: str = "store", limit: int = 0) -> Store:
        return Store(self.url, "", self.place / name, limit)

    def fetch(self) -> list[str]:
        return Mirror(self.store(), self.top).run()

    def read(self, path: str) -> str:
        return (self.top / "cvmfs" / path).read_text()


@contextmanager
def serve(folder: Path, certificate: Path | None = None) -> Iterator[str]:
    """Its URL; `certificate`: with the key in the same file."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def estate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Estate]:
    monkeypatch.setattr("farmlet.parts.software.sharing.pack.SPARE", 0)
    monkeypatch.setattr(published, "SPARE", 0)
    monkeypatch.setattr(module, "SPARE", 0)
    found = Estate(tmp_path)
    with serve(found.files) as found.url:
        yield found


def test_a_host_has_the_same_paths_and_follows(estate: Estate) -> None:
    estate.publish("hep", "one")
    first = estate.pack()
    assert estate.fetch() == []
    assert (estate.read("unpacked/hep/marker"), estate.read("lab.test/certificates/ab.0")) == ("one", "an authority")
    about = (estate.top / "cvmfs/unpacked/hep/marker").stat()
    assert (about.st_mode & 0o777, about.st_gid) == (0o640, 12)
    assert images.load(estate.top / "cvmfs/unpacked")["hep"].offered
    before = sorted(path.stat().st_ino for path in (estate.top / "cvmfs/.farmlet").iterdir())
    assert estate.pack().shown == first.shown and estate.fetch() == [], "the second time there is nothing to do"
    assert sorted(path.stat().st_ino for path in (estate.top / "cvmfs/.farmlet").iterdir()) == before
    old = estate.cvmfs / "unpacked/.images/hep-one"
    estate.publish("hep", "two")
    estate.pack()
    held = (estate.top / "cvmfs/unpacked/hep").resolve()
    assert estate.fetch() == [] and estate.read("unpacked/hep/marker") == "two"
    assert (held / "marker").read_text() == "one", "who publishes keeps it: something may run in it"
    subprocess.run(["rm", "-r", str(old)], check=True)
    estate.pack()
    assert estate.fetch() == [] and not held.exists()
    assert not list((estate.place / "store").glob("*.part")) and len(list(estate.files.iterdir())) == 4


def test_what_is_taken_back_is_no_longer_shown(estate: Estate) -> None:
    estate.publish("hep", "one")
    estate.publish("old", "one")
    estate.pack()
    estate.fetch()
    other = estate.top / "cvmfs/unpacked/other"
    other.symlink_to("/tmp")
    rows = images.load(estate.cvmfs / "unpacked")
    del rows["old"]
    images.save(rows.values(), estate.cvmfs / "unpacked")
    estate.pack()
    assert estate.fetch() == []
    assert sorted(path.name for path in (estate.top / "cvmfs/unpacked").iterdir()) == ["hep", "images.json", "other"]


def test_wrong_content_is_never_shown(estate: Estate) -> None:
    estate.publish("hep", "one")
    estate.publish("good", "two")
    index = estate.pack()
    bad = estate.files / index.shown["/cvmfs/unpacked/hep"]
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    for odd, why in ((bytes(data), "another content"), (bytes(data[:-1]), "another size"), (bytes(data) + b"x", "another size")):
        bad.write_bytes(odd)
        (failed,) = estate.fetch()
        assert failed.startswith("/cvmfs/unpacked/hep: ") and why in failed
        assert not (estate.top / "cvmfs/unpacked/hep").exists() and estate.read("unpacked/good/marker") == "two"
        assert not images.load(estate.top / "cvmfs/unpacked")["hep"].offered
    assert sorted(path.name for path in (estate.place / "store").iterdir() if path.suffix != ".lock") == []


NOTHING: dict[str, dict[str, object]] = {"shown": {}, "folders": {}, "files": {}, "lists": {}}
OUTSIDE = [json.dumps({**NOTHING, key: {"/cvmfs/../etc": {}}}) for key in ("shown", "folders", "lists")]


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"shown":{"/etc/x":"0"}}', *OUTSIDE])
def test_an_odd_index_changes_nothing(estate: Estate, index: str) -> None:
    estate.publish("hep", "one")
    estate.pack()
    estate.fetch()
    (estate.files / "index.json").write_text(index)
    with pytest.raises(Lack, match="cannot be read"):
        estate.fetch()
    assert estate.read("unpacked/hep/marker") == "one"
    assert sorted(path.name for path in estate.top.iterdir()) == ["cvmfs"]


def test_a_host_that_cannot_be_written_says_so(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish("hep", "one")
    estate.pack()
    (estate.place / "config").write_text(json.dumps({"url": estate.url, "authority": "", "work": str(estate.place)}))
    monkeypatch.setattr(Mirror, "_tell", lambda *_: (estate.place / "none" / "file").touch())
    assert module.main(["--config", str(estate.place / "config"), "--top", str(estate.top)]) == 1
    assert "No such file" in json.loads((estate.place / module.STATE).read_text())["failed"][0]


def test_a_full_disk_shows_nothing_half(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish("hep", "one")
    estate.pack()
    monkeypatch.setattr(module, "SPARE", 1 << 60)
    assert all("are needed" in one for one in estate.fetch())
    monkeypatch.setattr(module, "SPARE", 0)
    monkeypatch.setattr(published, "SPARE", 1 << 60)
    assert all("are needed" in one for one in estate.fetch()) and not (estate.top / "cvmfs/unpacked/hep").exists()
    assert not list((estate.top / "cvmfs/.farmlet").iterdir())


CALL = "import sys; from farmlet.runtime.published import main; sys.exit(main(sys.argv[1:]))"


def test_a_fetch_that_is_killed_is_made_again(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish("hep", "one")
    index = estate.pack()
    digest = index.shown["/cvmfs/unpacked/hep"]
    monkeypatch.setattr(Handler, "slow", digest)
    words = ["get", estate.url, "", str(estate.place / "cache"), "0", "/cvmfs/unpacked/hep"]
    process = subprocess.Popen([sys.executable, "-c", CALL, *words])
    part = estate.place / f"cache/{digest}.part"
    while not part.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.exists() and not (estate.place / f"cache/{digest}").exists()
    monkeypatch.setattr(Handler, "slow", "")
    store = estate.store("cache")
    store.unpack("/cvmfs/lab.test", estate.place / "own")
    assert not part.exists(), "what is left of it is gone before anything else is fetched"
    assert store.image("/cvmfs/unpacked/hep").read_bytes() == (estate.files / digest).read_bytes()


def test_a_drones_store_is_limited_and_keeps_what_was_used_lately(estate: Estate) -> None:
    for name in ("a", "b", "c"):
        estate.publish(name, name)
    index = estate.pack()
    size = max(index.files[digest][0] for digest in index.shown.values())
    store = estate.store("cache", 2 * size)
    first, second = (store.image(f"/cvmfs/unpacked/{name}") for name in "ab")
    with pytest.raises(Lack, match="over the limit"):
        store.image("/cvmfs/unpacked/c")
    os.utime(first, (1, 1))
    assert store.image("/cvmfs/unpacked/c").exists() and second.exists() and not first.exists()


def test_a_job_is_told_the_file_of_its_image(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.publish("hep", "one")
    index = estate.pack()
    folder = estate.place / ("long" * 50)
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(published.time, "sleep", lambda seconds: None)
    desk = published.Desk(estate.store("cache"), published.SOCKET)
    threading.Thread(target=desk.serve_forever, daemon=True).start()

    def prepare(*lines: str) -> dict[str, str]:
        return published.prepare("\n".join(('Cmd = "x"', *lines)), "/cvmfs/unpacked/hep", folder)

    file = json.dumps(str(estate.place / "cache" / index.shown["/cvmfs/unpacked/hep"]))
    assert prepare() == prepare('ContainerImage = "/cvmfs/unpacked/hep/"') == {"FarmletImageFile": file}
    assert prepare('ContainerImage = "fit.sif"', 'FarmletImageFile = "/x"') == {"FarmletImageFile": "undefined"}
    lacks = prepare('SingularityImage = "/cvmfs/unpacked/none"')
    assert lacks == {"HookStatusCode": "100", "HookStatusMessage": '"its image: /cvmfs/unpacked/none is not published"'}
    (estate.place / "cache" / index.shown["/cvmfs/unpacked/hep"]).unlink()
    (estate.files / index.shown["/cvmfs/unpacked/hep"]).unlink()
    assert prepare()["HookStatusCode"] == "300", "another time, or at another site, it may start"
    desk.shutdown()
    desk.server_close()
    assert prepare()["HookStatusCode"] == "300"


def test_an_image_of_a_registry_comes_to_a_drone_by_https(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    name, area = "reg.test:5000/lab/shell:v1", estate.cvmfs / "unpacked.lab.test"
    flat = area / ".flat/ab" / ("ab" * 32)
    flat.mkdir(parents=True)
    (flat / "marker").write_text("of a registry")
    (area / name).parent.mkdir(parents=True)
    (area / name).symlink_to(os.path.relpath(flat, (area / name).parent))
    images.save([Row(name, offered=True, path=str(area / name))], area)
    index = estate.pack()
    pair = estate.place / "pair.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*words.split(), "-keyout", str(pair), "-out", f"{pair}.crt"], check=True, capture_output=True)
    pair.write_text(pair.read_text() + Path(f"{pair}.crt").read_text())
    monkeypatch.chdir(estate.place)
    monkeypatch.setattr(published.time, "sleep", lambda seconds: None)
    with serve(estate.files, pair) as estate.url:
        store = Store(estate.url, f"{pair}.crt", estate.place / "cache")
        desk = published.Desk(store, published.SOCKET)
        threading.Thread(target=desk.serve_forever, daemon=True).start()
        said = published.prepare(f'ContainerImage = "/cvmfs/unpacked.lab.test/{name}"', "", estate.place)
        digest = index.shown[f"/cvmfs/unpacked.lab.test/{name}"]
        assert said == {"FarmletImageFile": json.dumps(str(estate.place / "cache" / digest))}
        assert Mirror(store, estate.top).run() == [] and estate.read(f"unpacked.lab.test/{name}/marker") == "of a registry"
        with pytest.raises(Lack, match="certificate verify failed"):
            estate.store().index()
        desk.shutdown()
        desk.server_close()


def test_what_comes_to_sites_runs_by_an_old_python() -> None:
    import ast

    ast.parse(Path(published.__file__).read_text(), feature_version=(3, 6))
