"""The analysis that the demo's member brings along: run on the facility in its software image, without Farmlet."""
