"""Further stores that get the same numbers (`also`): a vmagent on the control node, with a buffer on disk for each of them.

It listens in the private network of the store, and the only ways out of that lead to the hosts of these stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from farmlet.parts import units
from farmlet.parts.monitoring.config import Also
from farmlet.parts.monitoring.exporter import KEEP, SMALL, door, socket
from farmlet.parts.resources import Account, Directory, Resource, Unit

NAME, DOOR = "farmlet-also", "farmlet-also-door"
BUFFER = "/var/lib/farmlet/also"
ADDRESS = "127.0.0.1:8429"
SOCKET = "/run/farmlet-also/also.sock"
FIRST_PORT = 8440  # of the ways out
PORTS = {"http": 80, "https": 443}


def write_flags(also: Sequence[Also], ways: Sequence[str], passwords: Sequence[str]) -> list[str]:
    """vmagent's words for the stores, each by the address of its way; `passwords`: files, "" for none."""
    words = list[str]()
    for one, way, password in zip(also, ways, passwords, strict=True):
        url = urlsplit(one.url)
        words += [
            f"-remoteWrite.url={url._replace(netloc=way).geturl()}",
            f"-remoteWrite.headers=Host:{url.netloc}",
            f"-remoteWrite.tlsServerName={url.hostname}",
            f"-remoteWrite.basicAuth.username={one.user}",
            f"-remoteWrite.basicAuth.passwordFile={password}",
            # what every store takes; by itself it tries VictoriaMetrics' own way first
            "-remoteWrite.forcePromProto=true",
        ]
    return words


def service(also: Sequence[Also], store: str) -> units.Service:
    credentials = {f"also-{number}": one.password_file for number, one in enumerate(also) if one.password_file}
    # %d: the folder of the unit's credentials
    passwords = [f"%d/also-{number}" if one.password_file else "" for number, one in enumerate(also)]
    words = write_flags(also, [f"127.0.0.1:{FIRST_PORT + number}" for number in range(len(also))], passwords)
    keep = f"-remoteWrite.tmpDataPath={BUFFER} {KEEP} {SMALL}"
    return units.Service(
        name=NAME,
        description="Farmlet monitoring: further stores",
        user=NAME,
        command=f"/usr/bin/vmagent -httpListenAddr={ADDRESS} {' '.join(words)} {keep}",
        writable=(BUFFER,),
        environment={"GOMAXPROCS": "1"},
        credentials=credentials,
        network=store,
    )


def configure(also: Sequence[Also], store: str, web: str) -> Sequence[Resource]:
    """`store`: the unit whose private network all is in; `web`: the user that hands numbers in."""
    found: list[Resource] = [Account(NAME), Directory(BUFFER, 0o700, NAME, NAME)]
    for number, one in enumerate(also):
        name, url = f"{NAME}-{number}", urlsplit(one.url)
        inside = f"JoinsNamespaceOf={store}.service"
        way = door(name, f"{url.hostname}:{url.port or PORTS[url.scheme]}", NAME, "a further store")
        listening = socket(name, f"127.0.0.1:{FIRST_PORT + number}", "PrivateNetwork=yes\n", inside)
        found += [listening, way.file, Unit(f"{name}.socket")]
    relay, proxy = service(also, store), door(DOOR, ADDRESS, NAME, NAME, store)
    opened = f"SocketUser={web}\nSocketMode=0600\nDirectoryMode=0755\n"
    return (*found, relay.file, relay.unit, socket(DOOR, SOCKET, opened), proxy.file, Unit(f"{DOOR}.socket"))
