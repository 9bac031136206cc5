"""The pages of site tests: who sees what, and that nothing a site says becomes part of the page."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmlet.parts import gate
from farmlet.parts.sitetests.pages.app import SITES, Pages, load
from farmlet.parts.sitetests.result import Result
from farmlet.parts.sitetests.store import Closed, Job, Store
from farmlet.web.guard import PERSON
from farmlet.web.login import Person

NOW = 1_800_000_000.0
MEMBER, ADMIN = Person("s-1", "ada", ("/lab",)), Person("s-2", "grace", ("/lab/admins/night",))
EVIL = "<script>alert(1)</script><img src=x onerror=y>\"'&"
NAMES = ["tier1", "hpc", *(f"s{number:03}" for number in range(SITES))]


class World:
    """`serve`: what a person gets; the store is the service's own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "results.sqlite3")
        self.pages = Pages(folder, folder, NAMES, "A <lab>", ["/lab/admins"], lambda: NOW)
        told = {"tests": [{"test": "clock"}], "faults": [f"{EVIL}: odd"], "frozen": []}
        slow = [{"site": "tier1", "test": "clock", "takes": 180.0, "every": 1800.0}]
        (folder / "told.json").write_text(json.dumps(told | {"slow": slow}))

    def add(self, at: float, code: int, text: str = "fine", output: str = "", site: str = "tier1", part: str = "") -> None:
        job = Job(f"{site}-{at}", site, ("clock",), "schedule", "wanted", at)
        self.store.add(job)
        one = Result("clock", code, text, at, 2.0, EVIL, output, 3 if output else 0, {EVIL[:30]: (2.5, "s")})
        more = [Result(f"clock/{part}", code, text, at)] if part else []
        self.store.end([(job, [one, *more])], at)
        gate.save(self.folder, site, gate.Gate(code != 2, at, text, tests={"clock": [code, at, text]}))

    def get(self, path: str, person: Person = MEMBER, status: int = 200) -> str:
        found: list[str] = []
        name, _, query = path.partition("?")
        environ = {"PATH_INFO": name, "QUERY_STRING": query, PERSON: person}
        body = b"".join(self.pages(environ, lambda line, headers: found.append(line))).decode()
        assert int(found[0][:3]) == status, body
        return body


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.store.close()


class Elements(HTMLParser):
    """The elements of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names, self.links = set[str](), list[str]()
        self.attributes = set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_what_was_in_a_report_has_a_row_and_a_page_too(world: World) -> None:
    world.add(NOW - 60, 2, "lost", part=EVIL)
    page = world.get("/site?name=tier1")
    links = [one for one in Elements(page).links if "clock%2F" in one]
    assert len(links) == 2 and "alert(1)</script>" not in page
    told = [world.get(link) for link in links]
    assert "Test clock/&lt;script&gt;" in told[0] and "lost" in told[1] and "Run it now" not in world.get(links[1], ADMIN)
    world.get("/test?name=other/x", status=404)


def test_from_the_matrix_one_click_leads_to_what_a_job_printed(world: World) -> None:
    world.add(NOW - 3600, 0)
    world.add(NOW - 60, 2, "it broke", "line one\nline two")
    page = world.get("/")
    assert page.index(">tier1<") < page.index(">s000<"), "what needs somebody comes first"
    (link,) = [one for one in Elements(page).links if one.startswith("/result")]
    told = world.get(link, ADMIN)
    assert "it broke" in told and "line one\nline two" in told and "3 bytes of it were left out" in told
    told = world.get(link, MEMBER)
    assert "it broke" in told and "line one" not in told and "onerror" not in re.sub("&lt;.*?&gt;", "", told)


def test_a_site_and_a_test_over_time_lead_to_the_worst_of_each_time(world: World) -> None:
    world.add(NOW - 7200, 2, "worst")
    world.add(NOW - 7150, 0, "better")
    world.add(NOW - 60, 1, "slow")
    for path in ("/site?name=tier1", "/test?name=clock", "/site?name=tier1&range=604800"):
        links = [one for one in Elements(world.get(path)).links if one.startswith("/result")]
        assert "worst" in world.get(links[0]).partition("The last results")[0]
        assert len(links) == (1 if "range" in path else 2)
    page = world.get("/site?name=tier1")
    assert "In the last day 3 jobs tested it; their tests took 6 s together." in page
    assert "clock takes 3 min here, so it runs each 30 min, not sooner" in page and "not sooner" not in world.get(
        "/site?name=hpc"
    )
    world.store.close_gate(Closed("tier1", f"new {EVIL}", NOW + 100, None))
    world.store.note_change("tier1", NOW - 50, False, False, EVIL)
    page = world.get("/site?name=tier1")
    assert "Maintenance" in page and "closed" in page and "<script>" not in page


def test_what_is_not_there(world: World) -> None:
    for path in (
        "/x",
        "/site?name=other",
        "/test?name=other",
        "/result?site=tier1&test=clock",
        "/result?site=..&test=x",
        "/site",
    ):
        assert "There is no such" in world.get(path, status=404)
    world.get("/?page=99999999999999999999&find=" + "x" * 5000)
    world.add(NOW - 60, 0)
    for query in ("from=x&to=y", "at=nan", "at=1e9999", "from=99999999999999999&to=1"):
        world.get(f"/result?site=tier1&test=clock&{query}", status=404 if "99999" in query and "e" not in query else 200)


def test_many_sites_are_several_pages(world: World) -> None:
    first, second = world.get("/"), world.get("/?page=1")
    assert first.count('<th scope="row">') == SITES and second.count('<th scope="row">') == 2
    assert world.get("/?find=hpc").count('<th scope="row">') == 1


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_a_site_says_stays_text(world: World, text: str, output: str) -> None:
    world.store._base.execute("DELETE FROM job")
    world.store._base.execute("DELETE FROM result")
    world.store._base.execute("PRAGMA synchronous = OFF")
    world.add(NOW - 60, 2, text + EVIL, output + EVIL)
    for path in ("/", "/site?name=tier1", "/test?name=clock", "/result?site=tier1&test=clock"):
        found = Elements(world.get(path, ADMIN))
        assert "script" not in found.names and not {name for name in found.attributes if name.startswith("on")}
        assert not [one for one in found.links if not one.startswith("/")]


def test_without_the_service_the_page_says_so(world: World) -> None:
    world.store.close()
    (world.folder / "results.sqlite3").unlink()
    assert "does not run just now" in world.get("/", status=503)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's rights")
def test_another_user_reads_what_the_service_writes() -> None:
    with TemporaryDirectory() as name:  # pytest's own folders are closed to others
        world = World(Path(name))
        world.add(NOW - 60, 0)
        world.folder.chmod(0o711)
        for path in world.folder.glob("results*"):
            path.chmod(0o640)
            os.chown(path, 0, 65534)
        read_as_another(world)
        world.store.close()


def read_as_another(world: World) -> None:
    script = (
        "import sqlite3, sys; base = sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True); "
        "print(base.execute('SELECT count(*) FROM result').fetchone()[0]); base.execute('DELETE FROM result')"
    )
    words = ["setpriv", "--reuid=65533", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script]
    done = subprocess.run([*words, str(world.folder / "results.sqlite3")], capture_output=True, text=True)
    assert done.stdout == "1\n" and "readonly database" in done.stderr


def test_it_waits_for_the_secret_of_its_client(tmp_path: Path) -> None:
    login = {"issuer": "https://i.example.org", "client": "sitetests", "origin": "https://s.example.org"}
    login |= {"secret": str(tmp_path / "secret"), "key": str(tmp_path / "key")}
    config = {"state": str(tmp_path), "gates": str(tmp_path), "sites": [], "title": "T", "admins": [], "login": login}
    (tmp_path / "c.json").write_text(json.dumps(config))
    found: list[str] = []
    list(load(str(tmp_path / "c.json"))({"PATH_INFO": "/"}, lambda line, headers: found.append(line)))
    (tmp_path / "secret").write_text("s")
    (tmp_path / "key").write_bytes(b"k")
    list(load(str(tmp_path / "c.json"))({"PATH_INFO": "/style.css"}, lambda line, headers: found.append(line)))
    assert [one[:3] for one in found] == ["503", "200"]


def test_admins_have_a_test_run_from_its_page(world: World) -> None:
    (world.folder / "asked").mkdir()
    world.add(NOW - 60, 2)

    def post(form: str, person: Person = ADMIN, method: str = "POST") -> tuple[str, dict[str, str]]:
        told: list[tuple[str, dict[str, str]]] = []
        environ = {"PATH_INFO": "/run", "REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(form)), PERSON: person}
        environ["wsgi.input"] = io.BytesIO(form.encode())
        list(world.pages(environ, lambda status, headers: told.append((status, dict(headers)))))
        return told[0]

    assert "Run it now" in world.get("/result?site=tier1&test=clock", ADMIN)
    assert "Run it now" not in world.get("/result?site=tier1&test=clock")
    status, headers = post("site=tier1&test=clock")
    assert status.startswith("303") and "It runs as soon as" in world.get(headers["Location"], ADMIN)
    assert [path.name for path in (world.folder / "asked").iterdir()] == ["tier1.clock"]
    assert post("site=tier1&test=clock", MEMBER)[0].startswith("403")
    for form in ("", "site=tier1", "site=tier1&test=queue", "site=tier1&test=../x", "site=x&test=clock"):
        assert post(form)[0].startswith("404")
    assert post("site=tier1&test=clock", method="GET")[0].startswith("404")
