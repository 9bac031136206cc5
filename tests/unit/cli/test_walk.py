"""A walk over the whole command line as the parser has it, so that a new verb is in it: whatever a person mistypes or lacks, one
JSON value on standard output, an exit status of the contract, no traceback, and words that begin with what they typed."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farmlet.cli import opening
from farmlet.cli.main import OWN, VERBS, main, verb_parser
from farmlet.engine.sandbox import docker as engine
from farmlet.facility.load import default_text
from farmlet.parts.part import find

BROKEN = {
    "empty": b"",
    "no-yaml": b"farmlet: [1\n",
    "a-list": b"- farmlet\n",
    "bytes": b"\xff\xfe\x00farmlet",
    "another-version": b"farmlet: 99\n",
    "unknown-key": b"farmlet: 1\nfacility: {name: lab, domain: lab.test, colour: red}\n",
    "too-deep": b"[" * 600,
}


def actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [one for one in parser._actions if not isinstance(one, argparse._HelpAction | argparse._SubParsersAction)]


def leaves(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Each command that does something, with its parser."""
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not inner:
        yield words, parser
    for one in inner:
        for name, below in one.choices.items():
            yield from leaves((*words, name), below)


def give(action: argparse.Action) -> str:
    """A value that its type takes."""
    return str(next(iter(action.choices))) if action.choices else "1" if action.type not in (None, Path) else "ada"


def fill(parser: argparse.ArgumentParser) -> list[str]:
    """What must be there is there."""
    words: list[str] = []
    for one in actions(parser):
        if one.option_strings and one.required:
            words += [one.option_strings[-1], give(one)]
        elif not one.option_strings and one.nargs not in ("*", "?"):
            words += ["--", "true"] if one.nargs == argparse.REMAINDER else [give(one)]
    return words


LEAVES = [leaf for verb in VERBS for leaf in leaves((verb,), verb_parser(verb))]
IDS = [" ".join(words) for words, _ in LEAVES]
OF_A_FACILITY = [(words, one) for words, one in LEAVES if words[0] not in (*OWN, "init")]


def spoil(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """Lines below a command that are wrong, each in one way."""
    good = fill(parser)
    yield ["--no-such-option", *good]
    if good:
        yield []
    takes_more = any(not one.option_strings and one.nargs in ("*", argparse.REMAINDER) for one in actions(parser))
    if not takes_more:
        yield [*good, "one", "word", "more"]
    for one in actions(parser):
        if not one.option_strings:
            continue
        if one.nargs != 0:
            yield [one.option_strings[-1]]
        else:
            yield [f"{one.option_strings[-1]}=yes"]
        if one.type not in (None, Path):
            yield from ([f"{one.option_strings[-1]}={wrong}", *good] for wrong in ("-3", "nan", "soon", ""))
        if one.choices:
            yield [one.option_strings[-1], "nothing-like-it", *good]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a facility, on a machine without Docker."""
    for name in ("FARMLET_FACILITY", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(engine, "_client", lambda: None)
    monkeypatch.setattr(engine, "_start", lambda: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(words: list[str], capsys: pytest.CaptureFixture[str], *subjects: str) -> tuple[int, Any]:
    """Run it with `--json`; its status and its value. `subjects`: what an error may be about, besides what was typed."""
    capsys.readouterr()
    code = main(["--json", *words])
    told = capsys.readouterr()
    value = json.loads(told.out)
    assert code in (0, 1, 2, 3), (words, told.err)
    assert "Traceback" not in told.err and "Traceback" not in told.out
    if code in (1, 2) and isinstance(value, dict) and "errors" in value:
        for one in value["errors"]:
            where = one["where"]
            typed = where.startswith(f"farmlet {words[0]}") or where.split(maxsplit=1)[0] in words or where in words
            assert typed or where.startswith(subjects or ("\0",)), (words, one)
            assert "Error" not in one["what"], (words, one)  # of Python
            assert f"{where}: {one['what']}" in told.err
    return code, value


@pytest.mark.parametrize(("words", "parser"), LEAVES, ids=IDS)
def test_a_slip_of_the_hand(
    words: tuple[str, ...], parser: argparse.ArgumentParser, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in spoil(parser):
        code, value = look([*words, *line], capsys)
        assert code == 2 and value["errors"][0]["hint"], (words, line, value)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if len(list(leaves((verb,), verb_parser(verb)))) > 1])
def test_an_action_that_is_none(verb: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ([verb], [verb, "nothing-like-it"]):
        code, value = look(line, capsys)
        assert code == 2 and value["errors"][0]["hint"] == f"farmlet {verb} --help"


@pytest.mark.parametrize(("words", "parser"), OF_A_FACILITY, ids=[" ".join(words) for words, _ in OF_A_FACILITY])
def test_without_a_facility(
    words: tuple[str, ...], parser: argparse.ArgumentParser, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, value = look([*words, *fill(parser)], capsys, "facility lab", "docker", "this host")
    assert code == {"validate": 0, "plan": 3, "down": 0}.get(words[0], 2), value


@pytest.mark.parametrize(("words", "parser"), OF_A_FACILITY, ids=[" ".join(words) for words, _ in OF_A_FACILITY])
def test_with_a_facility_whose_docker_is_away(
    words: tuple[str, ...], parser: argparse.ArgumentParser, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "facility.yaml").write_text(default_text())
    (folder / ".farmlet" / "lab").mkdir(parents=True, mode=0o700)
    code, value = look([*words, *fill(parser)], capsys, "facility lab", "docker", "this host", "node ", "user ada", "check ")
    assert code in ((0, 1, 2) if words[0] in ("validate", "plan", "status", "logs", "node") else (1, 2)), value


@pytest.mark.parametrize("name", [*BROKEN, "missing", "a-folder", "a-device"])
def test_with_a_file_that_is_none(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = find()
    monkeypatch.setattr(opening, "find", lambda: parts)
    path = folder / "mine.yaml"
    if name in BROKEN:
        path.write_bytes(BROKEN[name])
    elif name == "a-folder":
        path.mkdir()
    elif name == "a-device":
        path = Path("/dev/null")
    for words, parser in OF_A_FACILITY:
        code, _ = look([words[0], "--facility", str(path), *words[1:], *fill(parser)], capsys, str(path))
        assert code == 2, words


@pytest.mark.parametrize(
    "words", [["check", "nothing-like-it"], ["logs", "nothing-like-it"], ["node", "drain", "nothing-like-it"]]
)
def test_a_name_that_is_none(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is asked of any node, with the names there are."""
    (folder / "facility.yaml").write_text(default_text())
    (folder / ".farmlet" / "lab").mkdir(parents=True, mode=0o700)
    code, value = look(words, capsys, "node nothing-like-it")
    assert code == 2 and "nothing-like-it" in value["errors"][0]["where"] and ", " in value["errors"][0]["hint"], value
