"""Panels (`panels.yaml`) as questions to the store: what pages, rules and dashboards have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

PAGE = "${monitoring}"  # in a dashboard as it is kept: the address of our own page
RECORDED = 300  # seconds between numbers that are kept of whole panels, for the long ranges


def is_wide(panel: Mapping[str, Any]) -> bool:
    """Whether it is of the whole facility, whose single numbers of a month are too many to be read for a page."""
    return "$node" not in panel["query"] and "$site" not in panel["query"]


def name_record(panel: Mapping[str, Any]) -> str:
    """Under which its lines are kept."""
    return "farmlet_panel:" + re.sub("[^a-z0-9]+", "_", f"{panel['page']} {panel['title']}".lower())


def fill(query: str, of: str, window: float) -> str:
    """A panel's query for one node or site, and a window of so many seconds."""
    return query.replace("$node", of).replace("$site", of).replace("$window", f"{window:.0f}s")
