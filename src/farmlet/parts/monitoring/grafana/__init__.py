"""Somebody's Grafana: what it gets by its API, and how members log in to it."""
