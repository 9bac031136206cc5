"""The identity service: tokens per second beside canaille's on the same core, and what else issue and verification cost.

The service runs on core 0, wrk on core 1. Rounds of both are interleaved, so that a busy machine harms both alike.
    python benchmarks/issuer.py          all but the next
    python benchmarks/issuer.py age      a million tokens, and whether the next one takes longer; about half an hour
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from issuers import canaille, ours
from issuers.server import Rate, Server, require
from joserfc.jwk import ECKey, KeySet
from record import ROOT, record

sys.path.insert(0, str(ROOT / "src"))
from farmlet.parts.identity.service.tokens import tokens
from farmlet.runtime.oauth import obtain
from farmlet.runtime.tokens import check

ROUNDS, SECONDS = 7, 4
TOKENS = 1_000_000
AUDIENCE = "https://wlcg.cern.ch/jwt/v1/any"
HOW = "one core, gunicorn with 16 threads, SQLite, wrk on the other core"


def main() -> None:
    require("wrk", "taskset")
    with tempfile.TemporaryDirectory(prefix="farmlet-bench-") as name, ours.build(Path(name) / "ours") as mine:
        if sys.argv[1:] == ["age"]:
            record_age(mine, Path(name) / "fresh")
            return
        record_idle(mine)
        with canaille.build(Path(name) / "canaille") as peer:
            rate = record_credentials(mine, peer)
        mine.refreshes(2)
        refreshes = [mine.refreshes(SECONDS) for _ in range(ROUNDS)]
        record_rate("issuer: tokens by refresh", "≥ 400/s", refreshes, f"ES256, rights resolved at each; {HOW}")
        record_crypto(rate)
        record_scim(mine)


def record_idle(server: Server) -> None:
    starts = [server.start]
    for _ in range(4):
        server.__exit__(None, None, None)
        starts.append(server.__enter__().start)
    record("issuer: start to first answer", "≤ 3 s", "s", starts, "of the process; systemd holds the socket meanwhile")
    time.sleep(2)
    record("issuer: idle memory", "≤ 200 MB", "MiB", [server.memory()], "proportional set size of its two processes")


def record_credentials(mine: Server, peer: Server) -> float:
    """The rates of both by client credentials and their ratio; ours per second of processor time."""
    rounds: list[tuple[Rate, Rate]] = []
    mine.credentials(2), peer.credentials(2)  # warm
    for _ in range(ROUNDS):
        rounds.append((mine.credentials(SECONDS), peer.credentials(SECONDS)))
    ours_, theirs = zip(*rounds, strict=True)
    record_rate("issuer: tokens by client credentials", "≥ 1000/s", ours_, f"ES256; {HOW}")
    record_rate("issuer: tokens by client credentials, canaille", "peer", theirs, f"canaille {canaille.VERSION}; {HOW}")
    ratios = [one.clock / other.clock for one, other in rounds]
    record("issuer: client credentials, ratio to canaille", "≥ 5", "×", ratios, "of rounds that ran one after the other")
    return statistics.median(rate.own for rate in ours_)


def record_rate(figure: str, goal: str, rates: Sequence[Rate], note: str) -> None:
    own = statistics.median(rate.own for rate in rates)
    share = statistics.median(rate.clock / rate.own for rate in rates)
    note = f"{note}; the server had {share:.0%} of its core, which makes {own:.0f} per second of processor time"
    record(figure, goal, "/s", [rate.clock for rate in rates], note)


def record_crypto(rate: float) -> None:
    """Signing and verifying alone, on core 0 like the service; `rate`: its tokens per second of processor time."""
    os.sched_setaffinity(0, {0})
    key = ECKey.generate_key("P-256")
    key.ensure_kid()
    claims = tokens.claim_access("http://127.0.0.1", "bench", "bench", [AUDIENCE], ["storage.read:/"], 3600, username="bench")
    signing = [repeat(lambda: tokens.sign(claims, key), 2000) for _ in range(5)]
    share = [100 * rate / each for each in signing]
    record("issuer: share of signing", "reported", "%", share, "of the time of a token by client credentials; ES256")
    token, keys = tokens.sign(claims, key), KeySet([key])
    rates = [repeat(lambda: check(token, keys, "http://127.0.0.1", [AUDIENCE]), 2000) for _ in range(5)]
    record("tokens verified offline", "≥ 5000/s", "/s", rates, "runtime.tokens.check, ES256, per second of processor time")
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def record_age(mine: Server, folder: Path) -> None:
    """Whether tokens get slower, or rows more, by the tokens there were."""
    rows, refreshed, others, began = count_rows(mine), 0, 0, time.monotonic()
    while refreshed < TOKENS / 10:  # without a pause: a token that was replaced works for 30 s only
        refreshed += int(mine.refreshes(30).clock * 30)
    while refreshed + others < TOKENS:
        others += int(mine.credentials(30).clock * 30)
    made = f"{refreshed} tokens by refresh and {others} by client credentials"
    print(f"{made} in {time.monotonic() - began:.0f} s")
    if count_rows(mine) != rows:
        raise SystemExit(f"rows were {rows} and are {count_rows(mine)}")
    # an answer that was under way when wrk stopped is lost, and a token that was replaced works for 30 s only
    mine.refresh = ours.fill(mine, 4, 4)
    with ours.build(folder, "fresh") as fresh:
        both = [(mine.refreshes(SECONDS).own, fresh.refreshes(SECONDS).own) for _ in range(ROUNDS)]
    note = f"after {made}, beside a new service; rows of connections and tokens before and after: {sum(rows.values())}"
    record("issuer: time of a late token ÷ of an early one", "≤ 1.2", "×", [early / late for late, early in both], note)


def count_rows(server: Server) -> dict[str, int]:
    names = ("connection", "accesstoken", "refreshtoken", "idtoken", "revokedtoken", "grant")
    with sqlite3.connect(f"file:{server.folder}/db.sqlite3?mode=ro", uri=True) as database:
        return {name: int(database.execute(f"SELECT count(*) FROM identity_{name}").fetchone()[0]) for name in names}


def record_scim(server: Server) -> None:
    """10 000 members by SCIM, and how soon a change is heard of."""
    ours.fill(server, 9900)
    token = obtain(server.url, "bench", server.basic.partition(":")[2], "scim:read", None).access_token
    listing, members = [], 0
    for _ in range(5):
        began, members = time.monotonic(), 0
        while len(page := get(server, f"/scim/v2/Users?startIndex={members + 1}&count=1000", token)["Resources"]):
            members += len(page)
        listing.append(time.monotonic() - began)
    record("issuer: SCIM list of 10 000 members", "≤ 2 s", "s", listing, f"{members} members, pages of 1000")
    note = "proportional set size, with SCIM's models, which the first list loads"
    record("issuer: memory after lists of 10 000 members", "≤ 200 MB", "MiB", [server.memory()], note)
    waits = [hear(server, token, verb) for verb in ("suspend", "resume") * 3]
    record("issuer: a change in the feed", "≤ 1 s", "s", waits, "from the audit log's line to the answer of a waiting reader")


def hear(server: Server, token: str, verb: str) -> float:
    """Seconds from a change to the answer of a reader who waited for it."""
    cursor, came = get(server, "/scim/v2/changes", token)["cursor"], []

    def follow() -> None:
        get(server, f"/scim/v2/changes?cursor={cursor}&wait=30", token)
        came.append(time.time())

    reader = threading.Thread(target=follow)
    reader.start()
    time.sleep(0.5)
    server.run("-m", ours.MODULE, "--config", str(server.folder / "identity.json"), "member", verb, "user7")
    reader.join()
    return came[0] - float(json.loads((server.folder / "audit.log").read_text().splitlines()[-1])["at"])


def get(server: Server, path: str, token: str) -> dict[str, Any]:
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def repeat(action: Callable[[], object], times: int) -> float:
    """How often `action` can be done in a second of processor time."""
    began = time.process_time()
    for _ in range(times):
        action()
    return times / (time.process_time() - began)


if __name__ == "__main__":
    main()
