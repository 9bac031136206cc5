"""What the pages say can be typed: every `farmlet` line is understood, every `make` target exists, marks are found."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from commands import MARK, ROOT, blocks, calls, pages, scripts

from farmlet.cli.main import VERBS, verb_parser

FARMLET = [(page, words) for page in pages() for script in scripts(page) for words in calls(script, "farmlet")]
MAKE = [(page, words) for page in pages() for script in scripts(page) for words in calls(script, "make")]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize(("page", "words"), FARMLET, ids=[f"{name(page)}: {' '.join(words)}" for page, words in FARMLET])
def test_every_farmlet_line_is_understood(page: Path, words: list[str]) -> None:
    assert words[0] in VERBS
    verb_parser(words[0]).parse_args(words[1:])  # exits, and so fails, at a word it does not know


def test_the_pages_show_every_verb() -> None:
    assert {words[0] for _, words in FARMLET} == set(VERBS)


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for _, words in MAKE} <= targets
    assert {"demo", "test"} <= {words[0] for page, words in MAKE if page.name == "README.md"}


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_mark_has_its_block(page: Path) -> None:
    marks = [line for line in page.read_text().splitlines() if line.strip() == MARK]
    assert len(blocks(page)) == len(marks)


def test_the_facility_test_reads_the_marked_pages() -> None:
    marked = [page for page in pages() if blocks(page)]
    assert len([text for page in marked for text in blocks(page)]) > 10
    for page in marked:
        assert page == ROOT / "README.md" or ROOT / "docs" in page.parents, "tests/facility reads README.md and docs/ only"
    for folder in ("docs/tutorial", "docs/howto/admin"):
        assert any(page.is_relative_to(ROOT / folder) for page in marked)


@pytest.mark.parametrize("page", [page for page in pages() if scripts(page)], ids=name)
def test_scripts_are_bash(page: Path) -> None:
    for script in scripts(page):
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, f"{script}\n{done.stderr}"


def test_marked_scripts_ask_nothing_and_destroy_nothing() -> None:
    for page in pages():
        for script in blocks(page):
            assert not re.search(r"\b(down|purge|apt-get|rm -r|make)\b", script), f"{name(page)}: {script}"


def test_every_line_that_carries_data_follows_to_where_data_is() -> None:
    """A dCache sends it on to another machine; curl ends well without going there."""
    carry = re.compile(r"\bcurl .*(?:--upload-file|--output|-T) .*(?:/users/|\$url/|\$here|\$there)")
    lines = [line for page in pages() for script in scripts(page) for line in script.splitlines() if carry.search(line)]
    assert len(lines) > 3 and not [line for line in lines if "--location " not in line]


def test_blocks_come_dedented_and_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        f"{MARK}\n```bash\none\n```\n\n```bash\nnot\n```\n\n1. Do\n\n   {MARK}\n   ```bash\n   two\n     three\n   ```\n"
    )
    assert blocks(page) == ["one\n", "two\n  three\n"]


def test_calls_end_where_the_command_ends() -> None:
    script = (
        "a=$(farmlet status --json | cat) || true\nfarmlet user add x \\\n  --title 'A B' > f # farmlet no\nfarmlet down && ls"
    )
    assert list(calls(script, "farmlet")) == [["status", "--json"], ["user", "add", "x", "--title", "A B"], ["down"]]
