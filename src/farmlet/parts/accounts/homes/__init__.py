"""Homes and scratch of the members on the nodes."""
