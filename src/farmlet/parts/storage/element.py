"""A storage element as resources: pure functions, used by the part and by stand-in sites, which have one of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from farmlet.facility.model import Facility
from farmlet.facility.places import ANY
from farmlet.parts.compiled import Plugin
from farmlet.parts.render import render
from farmlet.parts.resources import Absent, Certificate, Command, Directory, File, Packages, Resource, Unit
from farmlet.parts.storage import PACKAGE
from farmlet.parts.storage.groups import write_table

ROOT_PORT, WEB_PORT = 1094, 8443
DATA = "/srv/farmlet/storage"
CONFIG, TOKENS = "/etc/xrootd/xrootd-storage.cfg", "/etc/xrootd/tokens-storage.cfg"
GROUPS = "/etc/xrootd/groups-storage"
CERTIFICATE, KEY = "/etc/farmlet/tls/xrootd.crt", "/etc/farmlet/tls/xrootd.key"
CHECKSUM, SWEEP = "/usr/lib/farmlet/checksum", "/usr/lib/farmlet/sweep.py"
# with the headers for everybody, or with the server's own too: compiler and packages
PUBLIC, SERVER = "g++ -std=c++17 -isystem /usr/include/xrootd", ("g++", "libxrootd-server-dev")
PRIVATE, INNER = f"{PUBLIC} -isystem /usr/include/xrootd/private", (*SERVER, "libxrootd-private-dev")
# by these libraries the server gives its handlers something to answer with, and its files
ANSWERS, FILES = "-lXrdHttpUtils", "-lXrdServer"
ROOM = Plugin("plug-in that refuses what cannot fit", PACKAGE, "room.cc", PUBLIC, SERVER, headers=("names.hh",))
PATHS = Plugin("plug-in that lets no path climb", PACKAGE, "paths.cc", PUBLIC, SERVER)
TRANSFER = Plugin(
    "plug-in for third-party copies", PACKAGE, "transfer.cc", PRIVATE, (*INNER, "libcurl4-openssl-dev"), f"{ANSWERS} {FILES}"
)
WEBDAV = Plugin("plug-in for listings and moves by WebDAV", PACKAGE, "webdav.cc", PRIVATE, INNER, ANSWERS, ROOM.headers)
PLUGINS = (ROOM, PATHS, TRANSFER, WEBDAV)
# of a request; XRootD knows none of them and would go on as if it were not there (RFC 9110 §8.4, §13.1, §14.4; RFC 9112 §6.1;
# RFC 4918 §10.4). Transfer-Encoding: any but `chunked`, which it does know.
REFUSED = ("Content-Range", "Content-Encoding", "Transfer-Encoding", "If", "If-Match", "If-None-Match", "If-Unmodified-Since")
AUTHORITIES = "/etc/grid-security/certificates"
UNIT = "farmlet-storage.service"
CACHE = "farmlet-storage"  # below /var/cache
# libscitokens keeps an issuer's keys there for 10 minutes, and for days while the issuer is silent; XRootD keeps what a
# token was good for in memory, and files stay open: hence the restart
FORGET = f"systemctl stop {UNIT} && rm -rf /var/cache/{CACHE}/scitokens && systemctl start {UNIT}"
USER = "xrootd"
FOLDERS = ("users", "data")


def install() -> Sequence[Resource]:
    """The server's packages and our plug-ins for it. Its unit is ours, so nothing starts before it is configured."""
    # of the client's tools the server needs those for checksums
    server = ("xrootd-server", "xrootd-server-plugins", "xrootd-plugins", "xrootd-scitokens-plugins", "xrootd-client")
    return (
        Packages((*server, "openssl", "ca-certificates", "python3-minimal")),
        *(resource for plugin in PLUGINS for resource in (plugin.install, *plugin.compiled)),
    )


def trust(authorities: Mapping[str, str]) -> Sequence[Resource]:
    """`authorities` (name → PEM) as XRootD's server and clients want them: files found by the hash of their subject."""
    names = {f"farmlet-{name}.pem": text for name, text in authorities.items() if text}
    keep = " ".join(f"! -name {name}" for name in names)
    return (
        Directory("/etc/grid-security"),
        Directory(AUTHORITIES),
        *(File(f"{AUTHORITIES}/{name}", text) for name, text in names.items()),
        Command(
            "hash the authorities", f"find {AUTHORITIES} -name 'farmlet-*.pem' {keep} -delete && openssl rehash {AUTHORITIES}"
        ),
    )


def find_groups(facility: Facility, ended: str = "") -> str:
    """The table of groups by which an element authorises tokens of an external issuer; "" with our own.

    `ended`: what those are called there who are no members any more.
    """
    if not facility.external:
        return ""
    return write_table(facility.rights, {path: facility.claim(path) for path in facility.groups}, ended=ended)


def configure(
    fqdn: str, issuer: str, name: str, authorities: Mapping[str, str], groups: str = "", ended: str = ""
) -> Sequence[Resource]:
    """An element at `fqdn` that takes the tokens of `issuer` (exact URL, called `name` in logs); see `trust`.

    Scopes name paths below DATA; or, with a table of `groups`, the bearer's groups decide and scopes do not count, and `ended`
    is the file of those who are no members any more (`ended.apply`). Its
    certificate is of the authority of the machine it stands on.
    """
    tokens = write_tokens([ANY, url(fqdn)], issuer, name, bool(groups), ended=ended if groups else "")
    return (
        # once more than in `install`: the server starts anew with a plug-in that has changed
        *(resource for plugin in PLUGINS for resource in plugin.compiled),
        *trust(authorities),
        Directory("/srv/farmlet"),
        # the server may write in these, but not remove what is root's: see `limits`
        *(Directory(path, 0o1770, "root", USER) for path in (DATA, *(f"{DATA}/{folder}" for folder in FOLDERS))),
        Directory("/etc/farmlet"),
        Directory("/etc/farmlet/tls"),
        Certificate(CERTIFICATE, KEY, (fqdn,), owner=USER, group=USER, mode=0o400, reload=("systemctl", "try-restart", UNIT)),
        File(CHECKSUM, render(PACKAGE, "checksum.sh", data=DATA), 0o755),
        File(CONFIG, write_server(fqdn, GROUPS if groups else "")),
        File(TOKENS, tokens),
        File(GROUPS, groups) if groups else Absent(GROUPS),
        File(SWEEP, (files(PACKAGE) / "templates" / "sweep.py").read_text()),
        File(f"/etc/systemd/system/{UNIT}", render(PACKAGE, UNIT, config=CONFIG, data=DATA, cache=CACHE, sweep=SWEEP)),
        Unit(UNIT),
    )


def write_server(fqdn: str, groups: str) -> str:
    """Configuration of the server at `fqdn`; `groups`: the file of the table of groups, if those decide."""
    return render(
        PACKAGE,
        "storage.cfg",
        site=fqdn,
        root_port=ROOT_PORT,
        web_port=WEB_PORT,
        data=DATA,
        checksum=CHECKSUM,
        room=ROOM.path,
        paths=PATHS.path,
        transfer=TRANSFER.path,
        webdav=WEBDAV.path,
        headers=REFUSED,
        certificate=CERTIFICATE,
        key=KEY,
        authorities=AUTHORITIES,
        authorise=render(PACKAGE, "authorise.cfg", tokens=TOKENS, groups=groups),
    )


def write_tokens(audience: Sequence[str], issuer: str, name: str, groups: bool, prefix: str = "/", ended: str = "") -> str:
    """Configuration of XRootD's module for tokens; their paths begin at `prefix` of the server's name space."""
    return render(PACKAGE, "tokens.cfg", audience=audience, issuer=issuer, name=name, groups=groups, prefix=prefix, ended=ended)


def url(fqdn: str) -> str:
    """The WebDAV endpoint of the element at `fqdn`, which is also the audience it answers to."""
    return f"https://{fqdn}:{WEB_PORT}"
