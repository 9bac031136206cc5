from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet import __version__
from farmlet.cli import opening, options, validate
from farmlet.cli.main import OWN, VERBS, verb_parser
from farmlet.engine.sandbox import docker as engine
from farmlet.errors import Errors, FarmletError, InputError

BAD = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test, colour: red}
nodes:
  head: {connect: container, runs: [work, wrok]}
  service: {connect: ssh, runs: [identity]}
"""


def fail(error: BaseException) -> Callable[[Any], int]:
    def run(args: Any) -> int:
        raise error

    return run


def test_every_error_of_a_bad_file(farmlet: Any, folder: Path) -> None:
    (folder / "facility.yaml").write_text(BAD)
    for verb in ("validate", "plan", "up", "status", "down"):
        result = farmlet(verb)
        assert result.code == 2 and result.out == "", verb
        assert "facility.yaml:2" in result.err and "colour" in result.err
        assert "facility.yaml:4" in result.err and "wrok" in result.err
        assert "facility.yaml:5" in result.err and "address" in result.err
        assert result.err.count("hint: ") >= 2 and "Traceback" not in result.err
    assert not (folder / ".farmlet").exists(), "nothing was touched"


def test_validate(farmlet: Any) -> None:
    result = farmlet("validate")
    assert result.code == 0 and result.err == ""
    assert "head.tiny.test: base.agent work.do" in result.out and "farmlet plan" in result.out


def test_validate_tells_what_dns_must_know(farmlet: Any, folder: Path) -> None:
    """Of hosts; a sandbox of containers sees to its names itself."""
    assert "DNS" not in farmlet("validate").out
    path = folder / "facility.yaml"
    path.write_text(path.read_text().replace("head: {connect: container", "head: {connect: ssh, address: 192.0.2.7"))
    assert "DNS must lead to\n  192.0.2.7: head.tiny.test\n" in farmlet("validate").out
    path.write_text(path.read_text().replace("connect: ssh, address: 192.0.2.7", "connect: local"))
    assert "  this host: head.tiny.test\n" in farmlet("validate").out


def test_validate_as_json(farmlet: Any) -> None:
    result = farmlet("validate", "--json")
    assert result.code == 0 and json.loads(result.out)["name"] == "tiny"


def test_the_file_named_beats_the_environment_beats_the_folder(
    farmlet: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (folder / "facility.yaml").read_text()
    for name in ("named", "environment"):
        (folder / f"{name}.yaml").write_text(text.replace("name: tiny", f"name: {name}"))
    assert "facility tiny is valid" in farmlet("validate").out
    monkeypatch.setenv("FARMLET_FACILITY", str(folder / "environment.yaml"))
    assert "facility environment is valid" in farmlet("validate").out
    assert "facility named is valid" in farmlet("validate", "--facility", "named.yaml").out
    result = farmlet("validate", "--facility", "missing.yaml")
    assert result.code == 2 and "missing.yaml" in result.err and "farmlet init" in result.err


def test_plan_of_an_absent_facility(farmlet: Any, folder: Path) -> None:
    result = farmlet("plan")
    assert result.code == 3 and result.err == ""
    assert "head: node is absent" in result.out and "farmlet up" in result.out
    result = farmlet("plan", "--json")
    assert result.code == 3
    assert json.loads(result.out) == {
        "missing": {"head": "absent", "service": "absent"},
        "resized": {},
        "left": [],
        "away": [],
        "changes": [],
    }
    assert not (folder / ".farmlet").exists(), "a plan makes nothing"


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["check"], ["logs"], ["demo"], ["node", "list"], ["user", "list"], ["explain", "ada"],
        ["rotate", "issuer", "--now"],
        ["token", "--as", "ada", "--scope", "s", "--audience", "a", "--reason", "r"],
    ],
)  # fmt: skip
def test_what_needs_a_running_facility_says_so(farmlet: Any, words: list[str]) -> None:
    result = farmlet(*words)
    assert result.code == 2 and result.out == ""
    assert "facility tiny: is not up from here: nothing at " in result.err
    assert "hint: go to the folder where it was made" in result.err and "farmlet up" in result.err


def test_a_facility_that_is_up_from_another_folder(farmlet: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint that says `farmlet up` would have people make a second one."""
    there = folder / "there" / ".farmlet" / "tiny"
    there.mkdir(parents=True)
    container = SimpleNamespace(labels={engine.FOLDER_LABEL: str(there)})
    monkeypatch.setattr(engine, "connect", lambda start: None)
    monkeypatch.setattr(engine, "answers", lambda: True)
    monkeypatch.setattr(engine, "owned", lambda client, name: {"containers": [container]})
    result = farmlet("status")
    assert result.code == 2 and f"runs from another folder: {there}" in result.err
    assert f"hint: cd {folder / 'there'}, and repeat it there" in result.err and "farmlet up" not in result.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explain", "ada", "--storage", "archive"], "farmlet explain: explains a member or a storage element, one at a time"),
        (["explain", "--storage", "archive", "--why-not", "login"], "farmlet explain --why-not: is about a member"),
        (["explain"], "farmlet explain: needs a member or a storage element"),
    ],
)
def test_what_is_explained_is_one_thing(farmlet: Any, words: list[str], told: str) -> None:
    result = farmlet(*words)
    assert result.code == 2 and told in result.err and "hint: farmlet explain USER" in result.err


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_folder_that_cannot_be_made(farmlet: Any, folder: Path, name: str) -> None:
    (folder / "file").write_text("")
    (folder / ".farmlet" / "tiny").mkdir(parents=True)
    result = farmlet("demo", "--workdir", name)
    assert result.code == 2 and f"farmlet demo --workdir {folder / name}: " in result.err and "Error" not in result.err
    assert "hint: name a folder that is not there yet" in result.err


@pytest.mark.parametrize("verb", OWN)
def test_own_verbs_speak_of_themselves(farmlet: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    words = ["--fresh"] if verb == "login" else []
    assert f"farmlet {verb}: which one?" in farmlet(verb, *words).err or "not logged in anywhere" in farmlet(verb, *words).err
    result = farmlet(verb, *words, "nowhere")
    assert result.code == 2 and result.err.startswith(f"farmlet {verb}: you are not logged in to nowhere")


def test_down_without_up(farmlet: Any, folder: Path) -> None:
    result = farmlet("down", "--purge")
    assert result.code == 0 and "nothing to do" in result.out and not (folder / ".farmlet").exists()


def test_an_unknown_verb(farmlet: Any) -> None:
    result = farmlet("demolish")
    assert result.code == 2 and result.out == ""
    assert "demolish" in result.err and "validate" in result.err, "what there is is listed"


def test_no_verb(farmlet: Any) -> None:
    assert farmlet().code == 2


def test_help_and_version(farmlet: Any) -> None:
    result = farmlet("--help")
    assert result.code == 0 and all(verb in result.out for verb in VERBS)
    assert farmlet("--version").out.strip() == f"farmlet {__version__}"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(farmlet: Any, verb: str) -> None:
    result = farmlet(verb, "--help")
    assert result.code == 0 and f"farmlet {verb}" in result.out and "--json" in result.out
    assert ("--facility" in result.out) is (verb not in OWN)
    assert callable(import_module(f"farmlet.cli.{verb}").run)
    assert farmlet(verb, "--no-such-option").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["--facility", "named.yaml", "validate"],
        ["-v", "validate"],
        ["validate", "-v"],
    ],
)
def test_options_on_either_side_of_the_verb(farmlet: Any, folder: Path, words: list[str]) -> None:
    (folder / "named.yaml").write_text((folder / "facility.yaml").read_text())
    assert farmlet(*words).code == 0


@pytest.mark.parametrize(("error", "code"), [(FarmletError, 1), (InputError, 2)])
def test_errors_and_exits(farmlet: Any, monkeypatch: pytest.MonkeyPatch, error: type[FarmletError], code: int) -> None:
    monkeypatch.setattr(validate, "run", fail(error("node head", "is on fire", "bring water")))
    result = farmlet("validate")
    assert result.code == code and result.out == ""
    lines = [line.strip() for line in result.err.splitlines() if line.strip()]
    assert lines == ["node head: is on fire", "hint: bring water"]


def test_several_errors_are_all_told(farmlet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    both = Errors([FarmletError("one", "first"), InputError("two", "second", "do")])
    monkeypatch.setattr(validate, "run", fail(both))
    result = farmlet("validate")
    assert result.code == 2
    assert [line.strip() for line in result.err.splitlines() if line.strip()] == ["one: first", "two: second", "hint: do"]


def test_tracebacks_only_when_asked_for(farmlet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "run", fail(FarmletError("node head", "is on fire")))
    assert "Traceback" not in farmlet("validate").err
    result = farmlet("validate", "-v")
    assert result.code == 1 and "Traceback" in result.err and result.err.rstrip().endswith("node head: is on fire")


def test_a_fault_of_ours_is_told_in_words_too(farmlet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library's exception is no message for a physicist: words first, the traceback with -v."""
    monkeypatch.setattr(validate, "run", fail(PermissionError(13, "Permission denied", "/x/.farmlet/tiny")))
    result = farmlet("validate")
    assert result.code == 1 and "Traceback" not in result.err
    assert "Permission denied" in result.err and "hint: " in result.err
    assert "Traceback" in farmlet("validate", "-v").err


def test_an_interrupt(farmlet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "run", fail(KeyboardInterrupt()))
    result = farmlet("validate")
    assert result.code == 130 and "interrupted" in result.err and "Traceback" not in result.err


WAIT = """
import sys, time
from farmlet.cli import main, init
def run(args):
    print("ready", flush=True)
    time.sleep(60)
init.run = run
sys.exit(main.main(["init"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_words(number: signal.Signals, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it, as its children would
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        os.kill(process.pid, number)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (130, 128 + number)
    assert "interrupted" in error and "hint" in error and "Traceback" not in error


PIPE = """
import sys
from farmlet.cli import main, init
def run(args):
    print("x" * 1000)
    return 0
init.run = run
sys.exit(main.main(["init"]))
"""


def test_a_reader_that_leaves_is_no_fault(tmp_path: Path) -> None:
    """`farmlet logs | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", PIPE]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    os.close(writer)
    assert "BrokenPipe" not in done.stderr and done.returncode in (0, 141)


def test_init(farmlet: Any, folder: Path) -> None:
    result = farmlet("init", "other.yaml")
    assert result.code == 0 and "farmlet validate" in result.out
    text = (folder / "other.yaml").read_text()
    assert "facility:" in text
    result = farmlet("init", "other.yaml")
    assert result.code == 2 and "exists already" in result.err and (folder / "other.yaml").read_text() == text
    assert farmlet("init").code == 2, "the folder's own file is never overwritten"
    assert farmlet("init", "no/such/folder.yaml").code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["list", "--json"], {"action": "list", "json": True}),
        (["--json", "list"], {"action": "list", "json": True}),
        (["list", "-v", "--facility", "x"], {"verbose": True, "facility": "x", "json": False}),
        (["-v", "--facility", "x", "list"], {"verbose": True, "facility": "x"}),
        (["exec", "head", "--", "ls", "-v", "--json"], {"action": "exec", "name": "head", "json": False, "verbose": False}),
    ],
)
def test_node_keeps_its_options_and_its_command_apart(words: list[str], expected: dict[str, Any]) -> None:
    found = vars(verb_parser("node").parse_args(words))
    assert {name: found[name] for name in expected} == expected
    if "exec" in words:
        assert [word for word in found["command"] if word != "--"] == ["ls", "-v", "--json"]


@pytest.mark.parametrize("words", [["logs", "nowhere"], ["node", "exec", "nowhere", "--", "true"]])
def test_a_mistyped_node_is_the_persons_fault(farmlet: Any, folder: Path, words: list[str]) -> None:
    (folder / ".farmlet" / "tiny").mkdir(parents=True)
    result = farmlet(*words)
    assert result.code == 2 and "node nowhere" in result.err and "head, service" in result.err and result.out == ""


@pytest.mark.parametrize("wrong", ["-3", "nan", "inf", "soon"])
@pytest.mark.parametrize(
    "words",
    [["node", "drain", "head", "--wait"], ["logs", "-n"], ["sitetest", "run", "--wait"], ["sitetest", "close", "x", "--hours"]],
)
def test_a_time_that_has_passed_is_a_slip(farmlet: Any, words: list[str], wrong: str) -> None:
    result = farmlet(*words, wrong)
    assert result.code == 2 and words[-1] in result.err and wrong in result.err and "hint: " in result.err
    assert "is not up" not in result.err, "told before anything is looked at"


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    options.print_table([("a", "long word", "x"), ("bb", "b", "y z")], ("h", "i", "j"))
    assert capsys.readouterr().out == "h   i          j\na   long word  x\nbb  b          y z\n"


def test_status_needs_no_heavy_libraries() -> None:
    """What people run most must be quick: importing these takes longer than asking the facility."""
    program = "import sys; import farmlet.cli.status, farmlet.cli.opening as opening; opening.find(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"docker", "cryptography", "requests", "authlib", "joserfc", "jinja2"} & set(done.stdout.split())


def test_validate_tells_what_parts_say_of_a_facility_that_is_right(farmlet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {part.name: part for part in opening.find().values()}
    found["work"] = replace(found["work"], note=lambda facility: [f"{facility.name} works for anybody"])
    monkeypatch.setattr(opening, "find", lambda: found)
    result = farmlet("validate")
    assert result.code == 0 and "note: tiny works for anybody\n" in result.out
