"""motley-cue as we run it: its own application, started only if what it must check it does check.

Loaded by gunicorn in motley-cue's environment. Upstream leaves two doors ajar without a word: feudalAdapter's LDAP
library takes any certificate, and flaat passes over the audience of issuers that its configuration does not name
(or whose configuration it could not read). A third is the issuer's: an INDIGO IAM gives any audience to any client.
"""

from __future__ import annotations

import functools
import json
import logging
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime.issuer import logins

log = logging.getLogger("farmlet.motley")
SECONDS = 5.0  # for each of the issuer's answers; flaat's own 1.2 s is too short for a class that logs in at once


def load(issuer: str, audience: str, ca: str, clients: str = "") -> Any:
    """The ASGI application. `ca`: PEM file of who vouches for the directory; `clients`: a JSON file, the ids of the clients whose
    tokens count, where the issuer does not see to that. Raises FarmletError.
    """
    check_directory(ca)
    # it connects to the directory and reads its configuration here
    from motley_cue.api import api
    from motley_cue.dependencies import mapper

    check_audience(mapper, issuer, audience)
    mapper.authorisation.set_request_timeout(SECONDS)
    if clients:
        hold_to(mapper.authorisation, json.loads(Path(clients).read_text()))
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


def hold_to(authorisation: Any, clients: Collection[str]) -> None:
    """Make flaat know nobody by a token that was given to another client than these (see `logins.find_fault`), and say which."""
    find = authorisation.get_user_infos_from_access_token

    def find_ours(access_token: str, issuer_hint: str = "") -> Any:
        found = find(access_token, issuer_hint)
        if found is None:
            return None
        claims = getattr(getattr(found, "access_token_info", None), "body", None)
        # an opaque token says nothing of its client
        fault = logins.find_fault(claims, clients) if isinstance(claims, dict) else "it says nothing of its client"
        if fault:
            log.warning("a token is refused: %s", "".join(each if each.isprintable() else "?" for each in fault[:500]))
            return refuse(fault)
        return found

    # all that asks who somebody is goes through it
    authorisation.get_user_infos_from_access_token = find_ours


def refuse(fault: str) -> None:
    """Tell whoever asked, by flaat's own error: it becomes a 401 with these words."""
    from flaat.exceptions import FlaatUnauthenticated

    raise FlaatUnauthenticated(f"this token is refused: {fault}")
