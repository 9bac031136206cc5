"""Reads the commands out of a page of the documentation. Standard library only; the facility tests use it too."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
MARK = "<!-- run: facility -->"
CURL = "<!-- run: curl -->"  # what members do with curl; runs against each kind of storage element
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
SHELL = ("bash", "sh")
ENDS = {"|", "||", "&&", ";", "&", ")", "}", ">", ">>", "<", "<<<", "2>", "2>&1"}


def pages() -> list[Path]:
    """Every page a person reads, the generated ones too."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path, mark: str = MARK) -> list[str]:
    """The scripts (bash) of a page that the facility tests run, in order: the blocks right under the mark."""
    text = path.read_text(encoding="utf-8")
    found = FENCE.finditer(text)
    return [textwrap.dedent(match["text"]) for match in found if text[: match.start()].rstrip().endswith(mark)]


def scripts(path: Path) -> list[str]:
    """All shell blocks of a page, marked or not."""
    text = path.read_text(encoding="utf-8")
    return [textwrap.dedent(match["text"]) for match in FENCE.finditer(text) if match["language"] in SHELL]


def calls(script: str, program: str) -> Iterator[list[str]]:
    """The arguments of each call of `program` in a script, up to a pipe, redirection or end of command."""
    for line in script.replace("\\\n", " ").splitlines():
        for found in re.finditer(rf"(?:^\s*|[(;&|]\s*){program} +(?P<rest>.*)", _outside(line)):
            # shell operators are words of their own; quotes are kept together
            lexer = shlex.shlex(found["rest"], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            words: list[str] = []
            for word in lexer:
                if word in ENDS:
                    break
                words.append(word)
            yield words


def _outside(line: str) -> str:
    """A line without its comment, and without what stands open in a quote (a script for another machine)."""
    line = re.sub(r"(^|\s)#.*", r"\1", line)
    return line.rpartition("'")[0] if line.count("'") % 2 else line
