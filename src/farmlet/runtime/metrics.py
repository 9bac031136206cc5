"""Numbers of a node, and the text by which prometheus-node-exporter takes them (its text file collector).

The functions that gather them run in the node agent, so: standard library only, no waiting beyond a few seconds, nothing is
changed. All that is in a label may be read by everyone on the node, and by those who see the monitoring.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

WORD = re.compile(r"[a-z][a-z0-9_]*")
MOST = 2000  # numbers of one name on a node: more are no labels but a list
# of a metric's text; in a label the quotation mark too (Prometheus, exposition formats, text format 0.0.4)
HELP = {"\\": "\\\\", "\n": "\\n"}
VALUE = HELP | {'"': '\\"'}


@dataclass(frozen=True)
class Sample:
    """One number: `name` without `farmlet_` and without its `unit`, a base unit in the plural (`seconds`, `bytes`) or "".

    `labels`: what tells it from others of its name; values may hold anything. `kind`: a `counter` never goes down but for a
    start anew, and its name gets `_total`. `help`: one line for who reads the number; the first of a name counts.
    """

    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    kind: Literal["gauge", "counter"] = "gauge"
    help: str = ""

    @property
    def title(self) -> str:
        """Its name as others see it, e.g. `farmlet_storage_free_bytes`."""
        words = ("farmlet", self.name, self.unit, "total" if self.kind == "counter" else "")
        return "_".join(filter(None, words))

    @property
    def line(self) -> str:
        labels = ",".join(f'{name}="{_escape(value, VALUE)}"' for name, value in sorted(self.labels.items()))
        return f"{self.title}{{{labels}}} {float(self.value)!r}" if labels else f"{self.title} {float(self.value)!r}"


def cut(samples: Iterable[Sample]) -> tuple[list[Sample], Counter[str]]:
    """The first MOST of each name, and of which names how many more there were: labels that explode cost their own name only."""
    counts, kept = Counter[str](), list[Sample]()
    for sample in samples:
        counts[sample.title] += 1
        if counts[sample.title] <= MOST:
            kept.append(sample)
    return kept, Counter({title: count - MOST for title, count in counts.items() if count > MOST})


def render(samples: Iterable[Sample]) -> str:
    """The text of one file. Raises ValueError for names that are none and for twins: readers refuse a whole file then."""
    families: dict[str, list[Sample]] = {}
    seen = set()
    for sample in samples:
        _check(sample)
        key = (sample.title, *sorted(sample.labels.items()))
        if key in seen:
            raise ValueError(f"{sample.line} is there twice")
        seen.add(key)
        families.setdefault(sample.title, []).append(sample)
    return "".join(_describe(title, found) for title, found in families.items())


def _describe(title: str, found: list[Sample]) -> str:
    first = found[0]
    told = f"# HELP {title} {_escape(first.help, HELP)}\n" if first.help else ""
    return f"{told}# TYPE {title} {first.kind}\n" + "".join(f"{sample.line}\n" for sample in found)


def _check(sample: Sample) -> None:
    for word in (sample.name, *filter(None, [sample.unit]), *sample.labels):
        if not WORD.fullmatch(word):
            raise ValueError(f"{word!r} is no name of a metric, unit or label")


def _escape(text: str, signs: Mapping[str, str]) -> str:
    # bytes that are no UTF-8, as Python carries them, would cost the whole file
    sound = str(text).encode(errors="replace").decode()
    return "".join(signs.get(sign, sign) for sign in sound)
