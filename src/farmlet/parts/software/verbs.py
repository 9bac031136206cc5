"""The actions of `farmlet images`, described once: at the admin's command line and at the program on the node."""

from __future__ import annotations

import argparse

ACTIONS = {
    "list": "the images: which are offered, how large, when they were tested, and why one is not offered",
    "build": "build what differs from the file, or what failed before, and offer it once its test ends well",
    "test": "test what is offered now; what fails is not offered any more",
}
SECONDS = 1800  # a build may take


def describe(parser: argparse.ArgumentParser, action: str) -> None:
    """Put the arguments of `action` on its command line."""
    if action != "list":
        parser.add_argument("name", nargs="?", default="", metavar="IMAGE", help="only this one")
