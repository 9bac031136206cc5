"""`steps.py` as nodes run it; what it does with packages, environments and units is the contract tests'."""

from __future__ import annotations

import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from farmlet.errors import FarmletError

if TYPE_CHECKING:
    from conftest import Node

ME = getpass.getuser()


def step(label: str, run: str) -> dict[str, Any]:
    return {"op": "command", "label": label, "run": run, "user": ME, "stamp": f"a.b: {label}", "fingerprint": "1"}


def test_steps_are_done_in_order_with_what_was_sent(node: Node, tmp_path: Path) -> None:
    told = node.do(step("one", f"echo $SENT > {tmp_path}/one"), step("two", f"cat {tmp_path}/one > {tmp_path}/two"))
    assert [(done["step"], done["ok"]) for done in told] == [("one", True), ("two", True)]
    assert (tmp_path / "two").read_text() == "1\n"
    assert node.stamps == {"a.b: one": "1", "a.b: two": "1"}


def test_nothing_follows_a_failure_which_is_told_with_its_last_words(node: Node, tmp_path: Path) -> None:
    with pytest.raises(FarmletError) as caught:
        node.do(step("bad", "seq 100000; echo the cause >&2; exit 3"), step("next", f"touch {tmp_path}/next"))
    assert "the cause\nended with 3" in caught.value.what and len(caught.value.what) < 5000
    assert not (tmp_path / "next").exists() and not node.sent.exists()
    assert node.stamps == {}


def test_what_cannot_be_put_is_told(node: Node, tmp_path: Path) -> None:
    item = {"kind": "File", "path": f"{tmp_path}/x", "blob": "gone", "mode": 0o600, "owner": ME, "group": "root"}
    with pytest.raises(FarmletError, match="FileNotFoundError"):
        node.do({"op": "put", "label": "x", "items": [item]})


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM; "], ids=["yields", "stubborn"])
def test_when_up_goes_its_step_is_ended_and_no_other_begins(node: Node, tmp_path: Path, stubborn: str) -> None:
    write = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid"
    one = step("one", f"{stubborn}{write}; while :; do sleep 0.1; done")
    with node.start(one, step("two", f"touch {tmp_path}/two")) as process:
        while not (tmp_path / "pid").exists():
            assert process.poll() is None
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        told = [json.loads(line) for line in process.stdout]
        assert process.wait() == 1
    assert [(done["step"], done["ok"]) for done in told] == [("one", False)]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not (tmp_path / "two").exists() and not node.sent.exists()


def test_nobody_listens_any_more(node: Node, tmp_path: Path) -> None:
    """`up` was killed: the step that runs may have ended by itself at that moment."""
    os.mkfifo(tmp_path / "go")
    one = step("one", f"touch {tmp_path}/begun; read line < {tmp_path}/go")
    with node.start(one, step("two", f"touch {tmp_path}/two")) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
        assert process.stdout is not None
        process.stdout.close()
        (tmp_path / "go").write_text("on\n")
        assert process.wait() == 1
    assert not (tmp_path / "two").exists() and not node.sent.exists()
