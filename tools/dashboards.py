"""Writes the Grafana dashboards out of the panels that our own pages draw.

python -m tools.dashboards            writes src/farmlet/parts/monitoring/dashboards
python -m tools.dashboards --check    exit 1 and names the dashboards that are out of step
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode, LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, DataSourceRef, Threshold, ThresholdsMode, VariableRefresh

from farmlet.parts.monitoring.pages.board import PAGES
from farmlet.parts.monitoring.panels import PAGE
from farmlet.parts.monitoring.store import load_panels

FOLDER = Path(__file__).resolve().parent.parent / "src/farmlet/parts/monitoring/dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
# how Grafana calls our units
UNITS = {"percent": "percent", "bytes": "bytes", "rate": "Bps", "hourly": "none", "count": "none", "seconds": "s", "none": "none"}
# where the names of nodes and sites come from
NAMES = {"node": 'label_values(up{job="node"}, node)', "site": "label_values(farmlet_overlay_drones, site)"}


def link_runbook(alarm: str) -> DashboardLink:
    """To what to do; whoever hands the dashboard out puts the address of our page in instead."""
    return DashboardLink(f"What to do at {alarm}").type(DashboardLinkType.LINK).url(f"{PAGE}/#{alarm}")


def make_panel(panel: Mapping[str, Any]) -> Panel:
    query = panel["query"].replace("$window", "$__rate_interval")
    made = Panel().title(panel["title"]).unit(UNITS[panel["unit"]]).axis_soft_min(0).span(8).height(8).datasource(SOURCE)
    made = made.with_target(Dataquery().ref_id("A").expr(query).datasource(SOURCE).legend_format("__auto"))
    made = made.legend(
        VizLegendOptions().show_legend(True).placement(LegendPlacement.BOTTOM).display_mode(LegendDisplayMode.LIST)
    )
    made = made.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    if "max" in panel:
        made = made.max(panel["max"])
    if "alarm" in panel:
        made = made.description(f"watched by {panel['alarm']}").links([link_runbook(panel["alarm"])])
    if (limit := panel.get("bad", panel.get("bad_below"))) is not None:
        below, above = ("red", "green") if "bad_below" in panel else ("green", "red")
        steps = [Threshold(color=below, value=None), Threshold(color=above, value=limit)]
        made = made.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        made = made.thresholds_style(GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    return made


def make(page: str) -> str:
    """One dashboard as JSON, for Grafana's import or its API."""
    title = PAGES[page][1].format("").strip()
    board = (
        Dashboard(f"Farmlet: {title}").uid(f"farmlet-{page}").tags(["farmlet"]).refresh("30s").time("now-6h", "now").readonly()
    )
    board = board.with_variable(DatasourceVariable("source").label("Source").type("prometheus"))
    if page in NAMES:
        variable = QueryVariable(page).label(page.title()).query(NAMES[page]).datasource(SOURCE)
        board = board.with_variable(variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED))
    for panel in load_panels():
        if panel["page"] == page:
            board = board.with_panel(make_panel(panel))
    return JSONEncoder(sort_keys=True, indent=1).encode(board.build()) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Grafana dashboards out of panels.yaml.")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    wanted = {f"{page}.json": make(page) for page in sorted({panel["page"] for panel in load_panels()})}
    there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    for name in wrong:
        if not options.check and name in wanted:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(wanted[name])
        print(f"{name}: {'out of step' if options.check else 'written' if name in wanted else 'belongs to no page'}")
    return int(options.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
