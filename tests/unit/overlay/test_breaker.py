"""When a site whose hosts give drones up gets the next order."""

from __future__ import annotations

import json
from pathlib import Path

from farmlet.parts.overlay.breaker import LONGEST, MOST, SHORTEST, SURVIVED, Breaker


def test_the_pause_grows_while_drones_give_up_and_ends_once_one_lives(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path / "pause.json")
    now, pauses = 0.0, []
    for turn in range(9):
        assert breaker.left(now) == 0
        breaker.note([f"drone-{turn}"], now)
        breaker.judge({f"drone-{turn}": "no bwrap"}, now + 2)
        pauses.append(breaker.left(now + 2))
        now += 2 + pauses[-1]
    assert pauses[:3] == [SHORTEST, 2 * SHORTEST, 4 * SHORTEST] and pauses[-1] == LONGEST
    told = json.loads((tmp_path / "pause.json").read_text())
    assert told == {"until": breaker.until, "count": 9, "reason": "no bwrap"}

    breaker.note(["drone-good"], now)
    breaker.judge({"drone-8": "no bwrap"}, now + SURVIVED - 1)  # what was judged is not judged again
    assert breaker.pause == LONGEST
    breaker.judge({}, now + SURVIVED)
    assert not (tmp_path / "pause.json").exists() and not breaker.orders
    breaker.note(["drone-10"], now)
    breaker.judge({"drone-10": "no bwrap"}, now)
    assert breaker.left(now) == SHORTEST


def test_one_bad_host_among_good_ones_costs_the_shortest_pause(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path / "pause.json")
    for now in range(0, 3000, 300):
        breaker.note([f"bad-{now}", f"good-{now}"], now)
        breaker.judge({f"bad-{now}": "no bwrap"}, now + SURVIVED)
        assert breaker.left(now + SURVIVED) == SHORTEST


def test_what_is_remembered_has_an_end_and_a_clock_set_back_holds_nobody_up(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path / "pause.json")
    breaker.note([f"drone-{number}" for number in range(2 * MOST)], 0)
    assert len(breaker.orders) == MOST
    breaker.until = 1e12
    assert breaker.left(0) == LONGEST


def test_a_full_disk_stops_no_order(tmp_path: Path) -> None:
    breaker = Breaker(tmp_path / "none" / "pause.json")
    breaker.note(["drone"], 0)
    breaker.judge({"drone": "no bwrap"}, 1)
    assert breaker.pause == SHORTEST
