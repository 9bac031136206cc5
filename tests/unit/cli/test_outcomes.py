"""With `--json` standard output is one JSON value, whatever happens, and the exit status is the design's: over all verbs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from farmlet.cli import demo
from farmlet.cli.main import OWN, VERBS
from farmlet.demo.run import Report, StepFailed
from farmlet.engine.deployment import Deployment
from farmlet.engine.nodes.fake import FakeDriver, FakeShell
from farmlet.errors import CommandError, Errors, FarmletError
from farmlet.parts.members import Members
from farmlet.parts.monitoring.store import load_panels

ADA = {"name": "ada", "kind": "person", "owner": None, "state": "active", "expires": None, "groups": ["tiny"], "uid": 20000}
WIKI = {"client_id": "wiki", "name": "The wiki", "of": "admin", "grants": [], "used": None}
ROW = {"check": "a.b", "node": "head", "ok": True, "seconds": 0.1, "evidence": "fine"}
TOKEN = "x.eyJzY29wZSI6ICJvcGVuaWQifQ.y"
STATUS = {"facility": "tiny", "ok": True, "parts": [], "nodes": [], "notes": [], "endpoints": {}, "ca": ""}
TOKEN_WORDS = ["--as", "ada", "--scope", "openid", "--audience", "a", "--reason", "r"]
IMAGE = {"name": "hep", "offered": False, "digest": "", "size": 0, "tested": 0, "base": "", "title": "", "error": "no disk"}
GATE = {"tests": [], "faults": [], "sites": []}


def give(value: Any) -> Callable[..., Any]:
    return lambda *args, **words: value


def fail(error: BaseException) -> Callable[..., Any]:
    def run(*args: Any, **words: Any) -> Any:
        raise error

    return run


AWAY = FarmletError("node head", "is away", "farmlet up")
# words → (what of the verb's module stands in for a facility, how it ends): each verb where all is well and where it is not
CASES: list[tuple[list[str], dict[str, Any], int]] = [
    (["init", "other.yaml"], {}, 0),
    (["init"], {}, 2),
    (["validate"], {}, 0),
    (["plan"], {}, 3),
    (["up"], {"wait_healthy": give(None), "endpoints": give({})}, 0),
    (["up"], {"wait_healthy": fail(Errors([AWAY, AWAY])), "endpoints": give({})}, 1),
    (["status"], {"status": give(STATUS)}, 0),
    (["status"], {"status": give(STATUS | {"ok": False})}, 1),
    (["check"], {"check_now": give([ROW])}, 0),
    (["check"], {"check_now": give([ROW | {"ok": False}])}, 1),
    (["demo"], {"set_stage": give(None), "play": give(Report(result={}, links={}, wanted=0))}, 0),
    (["demo"], {"set_stage": give(None), "play": fail(StepFailed("step", "no", "", Report(result={}, links={}, wanted=0)))}, 1),
    (["user", "list"], {}, 0),
    (["user", "show", "ada"], {}, 0),
    (["user", "add", "ada", "--group", "tiny"], {}, 0),
    (["user", "history", "ada"], {}, 0),
    (["user", "release", "--all"], {"release": give(["ada"])}, 0),
    (["user", "release"], {}, 2),
    (["client", "list"], {"ask_clients": give([WIKI])}, 0),
    (["client", "set", "wiki"], {"ask_clients": give(WIKI | {"client_secret": "s"})}, 0),
    (["token", *TOKEN_WORDS], {}, 0),
    (["node", "list"], {}, 0),
    (["node", "drain", "head"], {}, 0),
    (["node", "drain", "head", "--undo"], {}, 0),
    (["node", "remove", "service"], {}, 2),
    (["node", "exec", "head", "--", "true"], {"attach": give((7, "out", "err"))}, 7),
    (["images", "list"], {"ask": give([])}, 0),
    (["images", "build"], {"ask": give([IMAGE])}, 1),
    (["sitetest", "list"], {"ask": give(GATE)}, 0),
    (["sitetest", "run"], {"ask": give([{"code": 2}])}, 1),
    (["explain", "ada"], {}, 0),
    (["explain", "ada", "--why-not", "administer"], {}, 1),
    (["rotate", "issuer"], {}, 0),
    (["login", "--status"], {}, 1),
    (["login", "--fresh"], {}, 2),
    (["login", "https://127.0.0.1:1"], {}, 1),
    (["logout"], {}, 2),
    (["logs"], {}, 0),
    (["logs", "-n", "x"], {}, 2),
    (["down"], {}, 0),
]


class Shell(FakeShell):
    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        super().run(command, stdin, timeout)
        return "[]" if "keys" in command else ""


@pytest.fixture
def facility(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A facility of fake nodes that is up, with a member; nobody has logged in on this machine."""
    driver = FakeDriver()
    driver.nodes.update({"head": Shell(set()), "service": Shell(set())})
    monkeypatch.setattr(Deployment, "open", lambda self: setattr(self.layout, "drivers", dict.fromkeys(driver.nodes, driver)))
    monkeypatch.setattr(Deployment, "up", give(0))
    monkeypatch.setattr(Deployment, "list_busy", give([]))
    monkeypatch.setattr(Members, "list", give([ADA]))
    monkeypatch.setattr(Members, "change", give(ADA))
    monkeypatch.setattr(Members, "history", give([]))
    monkeypatch.setattr(Members, "token", give(TOKEN))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    path = folder / "facility.yaml"
    path.write_text(path.read_text().replace("container", "fake"))
    (folder / ".farmlet" / "tiny").mkdir(parents=True)
    return folder


def read_errors(result: Any) -> list[dict[str, str]]:
    """Of a command that has nothing but its errors to tell, which stand on standard error too."""
    found = json.loads(result.out)
    assert found["ok"] is False and all(set(one) == {"where", "what", "hint"} for one in found["errors"])
    assert all(f"{one['where']}: {one['what']}" in result.err for one in found["errors"])
    errors: list[dict[str, str]] = found["errors"]
    return errors


def lead(words: Sequence[str]) -> list[str]:
    """The line with `--json` where no command of `exec` would take it."""
    return ["--json", *words]


def test_every_verb_is_looked_at() -> None:
    assert {words[0] for words, _, _ in CASES} == set(VERBS)


@pytest.mark.parametrize(("words", "stands", "code"), CASES, ids=[" ".join(words[:3]) for words, _, _ in CASES])
def test_an_end(
    farmlet: Any, facility: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], stands: dict[str, Any], code: int
) -> None:
    for name, value in stands.items():
        monkeypatch.setattr(import_module(f"farmlet.cli.{words[0]}"), name, value)
    result = farmlet(*lead(words))
    assert result.code == code, result.err
    json.loads(result.out)
    if code == 2:
        assert read_errors(result)[0]["what"]
    assert "Traceback" not in result.err


@pytest.mark.parametrize("verb", VERBS)
def test_a_word_that_is_not_known(farmlet: Any, facility: Path, verb: str) -> None:
    result = farmlet(*lead([verb, "--no-such-option"]))
    (error,) = read_errors(result)
    assert result.code == 2 and error["where"].startswith(f"farmlet {verb}") and "--help" in error["hint"]


@pytest.mark.parametrize("words", [["demolish"], []])
def test_no_verb(farmlet: Any, words: list[str]) -> None:
    result = farmlet(*lead(words))
    assert result.code == 2 and read_errors(result)[0]["where"] == "farmlet"


FAULTS = [(FarmletError("node head", "is on fire", "bring water"), 1), (KeyError("x"), 1), (KeyboardInterrupt(), 130)]
FAULTS += [(CommandError("node head", "true", 255, ["no route"]), 1), (ModuleNotFoundError(name="pydantic"), 1)]


@pytest.mark.parametrize(("error", "code"), FAULTS, ids=[type(error).__name__ for error, _ in FAULTS])
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault(
    farmlet: Any, facility: Path, monkeypatch: pytest.MonkeyPatch, verb: str, error: BaseException, code: int
) -> None:
    """Whatever was printed before it."""
    words = next(words for words, _, _ in CASES if words[0] == verb)
    module = import_module(f"farmlet.cli.{verb}")
    monkeypatch.setattr(module, "run", fail(error))
    result = farmlet(*lead(words))
    (told,) = read_errors(result)
    assert result.code == code and told["where"] in ("node head", f"farmlet {verb}")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in (*OWN, "init")])
def test_a_bad_file(farmlet: Any, facility: Path, verb: str) -> None:
    (facility / "facility.yaml").write_text("farmlet: 1\nfacility: {name: tiny, domain: tiny.test, colour: red}\n")
    words = next(words for words, _, _ in CASES if words[0] == verb)
    result = farmlet(*lead(words))
    assert result.code == 2 and "facility.yaml:2" in [one["where"] for one in read_errors(result)]


def test_a_demo_ends_with_the_pages_that_show_it() -> None:
    found = {"issuer": "https://i", "monitoring": "https://m", "sitetests": "https://s", "portal": "https://p"}
    links = demo.find_links(found, "https://e")
    assert links["its jobs"] == "https://m/?page=queue" and links["tests of its site"] == "https://s"
    assert {"queue", "overlay"} <= {panel["page"] for panel in load_panels()}
    assert demo.find_links({"issuer": "https://i"}, "https://e") == {"identity": "https://i", "storage": "https://e"}
