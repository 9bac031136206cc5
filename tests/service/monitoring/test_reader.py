"""A Grafana (a stand-in, by its documentation) that is filled by us reads the real store with what it was given."""

from __future__ import annotations

import json
from pathlib import Path
from wsgiref.simple_server import WSGIServer, make_server

import pytest
from pieces import Pieces, Quiet

from farmlet.parts.monitoring.grafana.program import run
from farmlet.parts.monitoring.pages.readers import Readers
from grafanas import TOKEN, grafana
from waiting import serve, until

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]


def test_grafana_reads_the_store_with_what_it_was_given(pieces: Pieces, tmp_path: Path) -> None:
    pieces.start_store()
    pieces.start_door()
    server = make_server("127.0.0.1", 0, Readers(pieces.store, {"grafana": "r" * 64}), WSGIServer, Quiet)
    with serve(server), grafana() as standin:
        config, token, reader, state = (tmp_path / name for name in ("config", "token", "reader", "state"))
        store = f"http://127.0.0.1:{server.server_port}/prometheus"
        more = {"facility": "lab", "title": "Lab", "ca": "CA\n", "seconds": 15, "login": {}}
        config.write_text(json.dumps({"url": standin.url, "store": store, **more}))
        token.write_text(TOKEN)
        reader.write_text("r" * 64)
        until(lambda: run(config, token, reader, state, look=False).faults == [])
        # a token that our store does not know is seen by what Grafana says
        reader.write_text("x" * 64)
        assert run(config, token, reader, state, look=False).faults == [
            f"it cannot read {store}: ends with 400: 401 Unauthorized"
        ]
