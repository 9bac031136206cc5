"""motley-cue as we run it: its own application, started only if what it must check it does check.

Loaded by gunicorn in motley-cue's environment. Upstream leaves two doors ajar without a word: feudalAdapter's LDAP
library takes any certificate, and flaat passes over the audience of issuers that its configuration does not name
(or whose configuration it could not read).
"""

from __future__ import annotations

import functools
import ssl
from typing import Any

from farmlet.errors import FarmletError

SECONDS = 5.0  # for each of the issuer's answers; flaat's own 1.2 s is too short for a class that logs in at once


def load(issuer: str, audience: str, ca: str) -> Any:
    """The ASGI application. `ca`: PEM file of who vouches for the directory. Raises FarmletError."""
    check_directory(ca)
    # it connects to the directory and reads its configuration here
    from motley_cue.api import api
    from motley_cue.dependencies import mapper

    check_audience(mapper, issuer, audience)
    mapper.authorisation.set_request_timeout(SECONDS)
    return api


def check_directory(ca: str) -> None:
    """Make ldap3 ask for a certificate that `ca` vouches for and that names the server, as it does for nobody by default."""
    from ldap3 import Tls
    from ldap3.core import server

    server.Tls = functools.partial(Tls, validate=ssl.CERT_REQUIRED, ca_certs_file=ca)


def check_audience(mapper: Any, issuer: str, audience: str) -> None:
    """Raises FarmletError unless tokens of `issuer`, and of it alone, are let in for `audience` only."""
    from flaat.opconfig import CONFIG

    trusted = [one.rstrip("/") for one in mapper.config.trusted_ops]
    if trusted != [issuer.rstrip("/")]:
        raise FarmletError("motley_cue.conf", f"trusts {', '.join(trusted) or 'nobody'}, not just {issuer}")
    if (mapper.info_op(issuer) or {}).get("audience") != audience:
        raise FarmletError("motley_cue.conf", f"does not ask for the audience {audience}")
    if issuer.rstrip("/") not in CONFIG.OPS_THAT_SUPPORT_AUDIENCE:
        raise FarmletError("flaat.conf", f"does not name {issuer} among ops_that_support_audience: no audience would be checked")
