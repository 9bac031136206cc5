"""The actions of `farmlet images`, described once: at the admin's command line and at the program on the node."""

from __future__ import annotations

import argparse

ACTIONS = {
    "list": "the images: which are offered, how large, when they were tested, and why one is not offered",
    "build": "build what differs from the file, or what failed before, and offer it once its test ends well",
    "test": "test what is offered now; what fails is not offered any more",
    "publish": "fetch an image of the wish list and show it now, without waiting for the hour",
    "remove": "take an image of a registry back that the wish list no longer asks for",
}
NAMED = ("publish", "remove")  # what is always about one image
SECONDS = 1800  # a build may take


def describe(parser: argparse.ArgumentParser, action: str) -> None:
    """Put the arguments of `action` on its command line."""
    if action in NAMED:
        parser.add_argument("name", metavar="IMAGE", help="REGISTRY/REPOSITORY:TAG, as `list` has it")
    elif action != "list":
        parser.add_argument("name", nargs="?", default="", metavar="IMAGE", help="only this one")
