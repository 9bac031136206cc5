"""Farmlet: one file and a machine or two become an analysis facility for fundamental physics."""

__version__ = "0.1.0"
