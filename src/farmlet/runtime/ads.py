"""What HTCondor's tools say with `-json`, read by types. Standard library only.

Members write most attributes of their jobs, and `condor_qedit` lets them write anything later: a text where a number should be,
tabs and newlines, an expression that takes hours. So nothing is asked for with `-af`, which evaluates what it prints and leaves
the reader to split it again; and what is not of its type counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Ad = Mapping[str, Any]

EXPRESSION = "/Expr("
LONGEST = 1000  # characters of an attribute that is looked at


def read(said: bytes) -> list[Ad]:
    """The ads of `condor_q -json` and its kin, which say nothing at all where there are none. Raises ValueError.

    Bytes that are no UTF-8 and raw control characters are some member's words, and no fault of the answer. What of the list is
    no ad is left out.
    """
    text = said.decode(errors="replace")
    if not text.strip():
        return []
    try:
        found = json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("lists within lists without end") from error
    if not isinstance(found, list):
        raise ValueError("no list")
    return [ad for ad in found if isinstance(ad, dict)]


def number(ad: Ad, name: str, most: float) -> float | None:
    """A number from 0 to `most`; None for anything else, an expression too."""
    value = ad.get(name)
    # compared before it is converted: whole numbers of JSON have no end
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= most else None


def whole(ad: Ad, name: str) -> int | None:
    """A whole number from 0 up that HTCondor can hold (64 bits); None for anything else."""
    value = ad.get(name)
    return value if type(value) is int and 0 <= value < 1 << 63 else None


def text(ad: Ad, name: str) -> str:
    """A text; "" for anything else, an expression too. A text that looks like one is taken for one."""
    value = ad.get(name)
    return value if isinstance(value, str) and not is_expression(value) else ""


def is_expression(value: object) -> bool:
    """Whether it is how `-json` writes what is not evaluated."""
    return isinstance(value, str) and value.startswith(EXPRESSION)


def bound(*names: str) -> str:
    """A constraint: these attributes are short as they are written, which is told without evaluating them.

    A member may write a text there that fills the memory of whoever reads it. Attributes that are not there are short.
    """
    return " && ".join(f"(size(unparse({name})) < {LONGEST}) =!= False" for name in names)
