"""Deprovisioning: what the end of a membership ends on a node, and who the former members are (tombstones)."""
