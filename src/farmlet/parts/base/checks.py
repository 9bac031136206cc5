"""What must hold on every node, and of the control API and the reverse proxy on the control node. Standard library only."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from pathlib import Path

from farmlet.runtime.checks import TIMEOUT, Failed


def check_control(config: str) -> str:
    """The control API answers this node, known by its own certificate. `config`: path of the agent's configuration."""
    settings = json.loads(Path(config).read_text())
    context = ssl.create_default_context(cafile=settings["ca"])
    try:
        context.load_cert_chain(settings["certificate"], settings["key"])
        host = settings["control"].removeprefix("https://")
        connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=context)
        connection.request("GET", "/node/wanted")
        answer = connection.getresponse()
        data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{settings['control']}: {error}") from error
    if answer.status != 200:
        raise Failed(f"the control API answers {answer.status}: {data[:100].decode(errors='replace').strip()}")
    return f"the control API wants {len(json.loads(data)['items'])} items here"


def check_stranger(host: str, ca: str) -> str:
    """Without a node's certificate the reverse proxy lets nobody through to the control API, whatever a request says."""
    context = ssl.create_default_context(cafile=ca)
    try:
        connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=context)
        connection.request("GET", "/node/wanted", headers={"X-Farmlet-Node": f"CN={host}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{host}: {error}") from error
    if status != 403:
        raise Failed(f"/node/wanted answers {status} to someone without a certificate")
    return "someone without a certificate gets 403"


def check_trust(bundle: str, ca: str) -> str:
    """The system's bundle of authorities contains the facility's."""
    own = ssl.PEM_cert_to_DER_cert(Path(ca).read_text())
    context = ssl.create_default_context(cafile=bundle)
    if own not in context.get_ca_certs(binary_form=True):
        raise Failed(f"{ca} is not in {bundle}")
    return "programs of this node trust the facility's authority"


def check_names(names: list[str]) -> str:
    """Every node of the facility is found by name."""
    missing = []
    for name in names:
        try:
            socket.getaddrinfo(name, 443)
        except OSError:
            missing.append(name)
    if missing:
        raise Failed(f"not found by name: {', '.join(missing)}")
    return f"{len(names)} names are found"


def check_results(folder: str, nodes: list[str], seconds: float) -> str:
    """Every node's agent has handed in results within the last `seconds`."""
    silent = []
    for node in nodes:
        try:
            at = json.loads((Path(folder) / f"{node}.json").read_text())["at"]
        except (OSError, ValueError, KeyError):
            silent.append(f"{node} (never)")
            continue
        if time.time() - at > seconds:
            silent.append(f"{node} (for {time.time() - at:.0f} s)")
    if silent:
        raise Failed(f"no results from {', '.join(silent)}")
    return f"{len(nodes)} agents report"
