from __future__ import annotations

import ctypes
import os
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.engine import preflight
from farmlet.engine.sandbox import docker
from farmlet.errors import InputError


@pytest.mark.parametrize(("limit", "there", "enough"), [(128, 0, True), (60, 0, False), (60, 2, True)])
def test_nodes_of_a_sandbox_find_enough_to_watch_files_with(
    monkeypatch: pytest.MonkeyPatch, limit: int, there: int, enough: bool
) -> None:
    monkeypatch.setattr(preflight.WATCHES.__class__, "read_text", lambda self: str(limit))
    monkeypatch.setattr(docker, "count_watches", lambda: 30)
    names = ["head", "service", "tier1"]
    containers = [SimpleNamespace(name=f"farmlet-lab-{name}") for name in names[:there]]
    monkeypatch.setattr(docker, "owned", lambda client, name: {"containers": containers})
    sandbox: Any = SimpleNamespace(client=None, facility=SimpleNamespace(name="lab"), contained=lambda: names)
    if enough:
        preflight._check_watches(sandbox)
        return
    with pytest.raises(InputError) as caught:
        preflight._check_watches(sandbox)
    assert caught.value.what == "30 of 60 inotify instances are left, 3 more nodes in containers need 36"
    assert caught.value.hint == "sysctl -w fs.inotify.max_user_instances=1024"


def test_those_that_are_open_are_counted() -> None:
    handle = ctypes.CDLL(None).inotify_init()
    try:
        assert docker.count_watches() > 0
    finally:
        os.close(handle)
