"""What several parts call by one name: what is published to all nodes and sites, and the credential of jobs."""

from __future__ import annotations

SOFTWARE = "/cvmfs"  # what is published, at the same path everywhere
CREDENTIAL = "farmlet"  # the OAuth service of HTCondor whose token jobs find in BEARER_TOKEN_FILE
# Characters of a token's audiences together, with a blank between two: XRootD takes tokens of up to 4096 characters.
AUDIENCES = 2000

IMAGES = f"{SOFTWARE}/unpacked"


def find_published(domain: str) -> str:
    """The folder of what this facility tells its jobs, wherever they run."""
    return f"{SOFTWARE}/{domain}"


def find_authorities(domain: str) -> str:
    """The hashed folder of the authorities that jobs trust."""
    return f"{find_published(domain)}/certificates"


def find_image(name: str) -> str:
    """The folder of an unpacked image."""
    return f"{IMAGES}/{name}"
