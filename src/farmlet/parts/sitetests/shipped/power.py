# /// sitetest
# every = 21600
# timeout = 120
# ///
"""How fast one core of the worker node is at what analyses do: pairs of particles are made, smeared, and their masses filled into
a histogram. The score is thousands of such events in a second of processor time, the best of three. A low one is no failure; a
machine that does not calculate as it should fails."""

import math
import platform
import random
import time
from typing import List

EVENTS, ROUNDS, BINS = 100000, 3, 120


def run() -> List[int]:
    made, histogram = random.Random(20270101), [0] * BINS
    for _ in range(EVENTS):
        mass = 91.2 + 2.5 * math.tan(math.pi * (made.random() - 0.5) * 0.98) / 2
        energy, cosine, angle = abs(mass) / 2, 2 * made.random() - 1, 2 * math.pi * made.random()
        sine = math.sqrt(1 - cosine * cosine)
        way = (sine * math.cos(angle), sine * math.sin(angle), cosine)
        first, second = energy * made.gauss(1, 0.01), energy * made.gauss(1, 0.01)
        total = [first * one - second * one for one in way]
        square = (first + second) ** 2 - sum(one * one for one in total)
        number = int(math.sqrt(max(square, 0.0)))
        if number < BINS:
            histogram[number] += 1
    return histogram


def test() -> str:
    best = 0.0
    found: List[List[int]] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        found.append(run())
        best = max(best, EVENTS / 1000 / max(time.process_time() - start, 1e-9))
    # the same numbers make the same histogram, or this machine does not calculate as it should
    assert all(one == found[0] for one in found), "three rounds with the same numbers have different results"
    peak = max(range(BINS), key=lambda number: found[0][number])
    assert peak in (90, 91), f"the peak is at {peak}, where it should be at 91"
    return f"a core does {best:.1f} thousand events a second, Python {platform.python_version()}|score={best:.2f}"
