"""python-ldap has no wheel: it is Debian's, as on nodes. The tests see it there when their Python is of the same version."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest
import slapd

if importlib.util.find_spec("ldap") is None:
    sys.path.append("/usr/lib/python3/dist-packages")


@pytest.fixture(scope="session", autouse=True)
def _library() -> None:
    try:
        import ldap  # noqa: F401
    except ImportError as error:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        pytest.fail(
            f"Debian's python3-ldap is missing or not for Python {version} ({error}): make service PYTHON=/usr/bin/python3"
        )


@pytest.fixture(scope="module")
def ours() -> Iterator[slapd.Running]:
    """A server configured as part accounts does it."""
    with slapd.serve() as running:
        yield running


@pytest.fixture(scope="module")
def theirs() -> Iterator[slapd.Running]:
    """A server of somebody else, with entries of theirs."""
    with slapd.serve(existing=True) as running:
        yield running
