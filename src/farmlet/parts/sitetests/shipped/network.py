# /// sitetest
# timeout = 60
# ///
"""From the site's worker nodes the facility is reached: the pool that drones join, and the issuer of tokens, by name and with
the authorities that jobs trust."""

import json
import os
import socket
import ssl
import time
import urllib.request
from http.client import HTTPException

PATIENCE = 10.0  # seconds


def test() -> str:
    start = time.monotonic()
    host, _, port = os.environ["FARMLET_COLLECTOR"].rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except OSError as error:
        raise AssertionError(f"the pool at {host}:{port} is not reached: {error}") from None
    issuer = os.environ["FARMLET_ISSUER"]
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    bundle = os.environ["FARMLET_CERTIFICATES"] + "/bundle.pem"
    assert os.path.exists(bundle), f"{bundle} is not here, by which jobs know the facility"
    try:
        trust = ssl.create_default_context(cafile=bundle)
        with urllib.request.urlopen(url, timeout=PATIENCE, context=trust) as answer:
            said = json.loads(answer.read(1000000).decode())["issuer"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise AssertionError(f"the issuer {issuer} does not answer: {error}") from None
    assert said == issuer, f"{url} is of the issuer {said}"
    seconds = time.monotonic() - start
    return f"{host}:{port} and {issuer} are reached|seconds={seconds:.3f}s"
