"""The real identity service: migrated database, gunicorn with TLS on a free loopback port, its own command."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from browser import Browser, Page
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from warm import Console

from farmlet.facility.rights import GroupRights, Table
from farmlet.runtime.oauth import obtain
from waiting import find_port

Fields = Mapping[str, str | list[str]]  # a list is a parameter that is repeated
PASSWORD = "correct horse battery"
ANY = "https://wlcg.cern.ch/jwt/v1/any"
# what the facility knows for its storage; whatever else a client names is for those who allow it by name
ELEMENTS = tuple(f"https://se{number}.example.org" for number in ("", 1, 2, 3))
RIGHTS = Table(
    {
        "lab": GroupRights(login=True, read=("/",), write=("/users/{user}",)),
        "lab/production": GroupRights(batch_share=10, write=("/data",)),
        "guests": GroupRights(read=("/public",)),
        "visitors": GroupRights(),
        "crew": GroupRights(login=True, write=("/crew",)),
        "crew/night": GroupRights(write=("/night",)),
        "board": GroupRights(administer=True),
        "lab/alarm": GroupRights(optional=True, stage=("/tape",)),
        "lab/shift": GroupRights(write=("/shift",)),
        "attic": GroupRights(),  # nobody is ever in it
    }
)


@dataclass
class Answer:
    status: int
    text: bytes
    headers: Message

    @cached_property
    def body(self) -> Any:
        """Its JSON object, if it has one."""
        return json.loads(self.text) if self.text[:1] == b"{" else {}


@dataclass
class Service:
    issuer: str
    folder: Path
    cafile: str
    database: str = ""  # a URL, else SQLite in the folder
    pid: int = 0  # of gunicorn

    @property
    def audit(self) -> Path:
        return self.folder / "db" / "audit.log"

    @property
    def config(self) -> Path:
        return self.folder / "identity.json"

    @cached_property
    def console(self) -> Console:
        return Console(self.config)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`farmlet-identity` with these arguments."""
        return self.console.run(arguments=arguments)

    def do(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def member(self, *words: str) -> Any:
        """What a verb about members answers."""
        return json.loads(self.do("member", *words))

    def register(self, client: str, *options: str) -> str:
        """Register a client that has a secret, which is returned."""
        self.do("client", "ensure", client, "--secret-file", str(self.folder / f"{client}.secret"), *options)
        return self.secret(client)

    def secret(self, client: str) -> str:
        return (self.folder / f"{client}.secret").read_text().strip()

    def basic(self, client: str) -> str:
        """The name and secret of such a client."""
        return f"{client}:{self.secret(client)}"

    def read_token(self) -> str:
        """A new token of the accounts daemon's."""
        return obtain(self.issuer, "accounts", self.secret("accounts"), "scim:read", self.cafile).access_token

    def python(self, code: str) -> None:
        """Run code beside the service, with its models at hand: for states that otherwise take time or another piece."""
        done = self.console.run(code=f"from farmlet.parts.identity.service.django.models import *\n{code}")
        assert done.returncode == 0, done.stderr

    def execute(self, sql: str) -> list[Any]:
        """A statement of SQL, and its rows if it has some; times are UTC."""
        if self.database:
            with psycopg.connect(self.database, options="-c TimeZone=UTC") as connection:
                cursor = connection.execute(sql)  # type: ignore[call-overload]
                return cursor.fetchall() if cursor.description else []
        with closing(sqlite3.connect(self.folder / "db" / "db.sqlite3", timeout=20)) as database, database:
            return database.execute(sql).fetchall()

    def request(self, path: str, form: Fields | None = None, *, basic: str = "", bearer: str = "", timeout: float = 10) -> Answer:
        """A program's request. `basic` is `name:secret`."""
        data = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
        known = f"Basic {base64.b64encode(basic.encode()).decode()}" if basic else bearer and f"Bearer {bearer}"
        return self.send(path, data, timeout=timeout, **({"Authorization": known} if known else {}))

    def send(
        self, path: str, data: bytes | None = None, method: str | None = None, timeout: float = 30, **headers: str
    ) -> Answer:
        """Any request. `path` may be a whole URL, and `_` stands for `-` in the names of `headers`."""
        url = path if path.startswith("https:") else self.issuer + path
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data, given, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=timeout, context=ssl.create_default_context(cafile=self.cafile))
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return Answer(answer.status, answer.read(), answer.headers)

    def token(self, form: Fields, basic: str = "") -> Answer:
        return self.request("/token/", form, basic=basic)

    def join(self, name: str, *groups: str, pending: bool = False) -> tuple[Browser, Page]:
        """Register a member and let them set their password. Returns their browser and the page they land on."""
        options = [*(f"--group={group}" for group in groups or ("lab",)), *(["--pending"] if pending else [])]
        url = self.member("add", name, *options, "--title", name.title())["join"]
        browser = Browser(self.cafile)
        page = browser.open(url)
        assert page.status == 200, page.text
        return browser, browser.submit(page, new_password1=PASSWORD, new_password2=PASSWORD)

    def begin(self, client: str = "farmlet", scope: str = "openid offline_access storage.read:/", **form: str) -> dict[str, Any]:
        answer = self.request("/device-authorization/", {"client_id": client, "scope": scope, **form})
        assert answer.status == 200, answer
        return answer.body

    def allow(self, browser: Browser, started: dict[str, Any], button: str = "allow") -> Page:
        page = browser.open(started["verification_uri_complete"])
        assert started["user_code"] in page.text, page.text
        return browser.submit(page, button)

    def redeem(self, started: dict[str, Any], client: str = "farmlet", **form: str) -> Answer:
        grant = "urn:ietf:params:oauth:grant-type:device_code"
        return self.token({"grant_type": grant, "device_code": started["device_code"], "client_id": client, **form})

    def refresh(self, token: str, client: str = "farmlet", **form: str) -> Answer:
        return self.token({"grant_type": "refresh_token", "refresh_token": token, "client_id": client, **form})

    def connect(self, browser: Browser, client: str = "farmlet", **begin: str) -> dict[str, Any]:
        """The whole device flow; the answer with the tokens."""
        started = self.begin(client, **begin)
        self.allow(browser, started)
        answer = self.redeem(started, client)
        assert answer.status == 200, answer
        return answer.body


def claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified."""
    return decode(token.split(".")[1])


def decode(part: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


class serve:
    """gunicorn, as the unit runs it, for the length of a `with`."""

    def __init__(self, service: Service, bind: str, *options: str) -> None:
        self.service, self.bind, self.options = service, bind, options

    def __enter__(self) -> None:
        application = "farmlet.parts.identity.service.django.wsgi:application"
        command = [sys.executable, "-m", "gunicorn", "-k", "gthread", "--threads", "16", "--no-control-socket", "-b"]
        environment = {**os.environ, "FARMLET_IDENTITY_CONFIG": str(self.service.config)}
        self.log = (self.service.folder / "gunicorn.log").open("ab")
        self.process = subprocess.Popen(
            [*command, self.bind, *self.options, application], env=environment, stdout=self.log, stderr=self.log
        )
        self.before, self.service.pid = self.service.pid, self.process.pid
        deadline = time.monotonic() + 30
        while not self.answers():
            assert self.process.poll() is None, (self.service.folder / "gunicorn.log").read_text()
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(0.1)

    def answers(self) -> bool:
        unix = self.bind.removeprefix("unix:")
        host, _, port = self.bind.rpartition(":")
        with socket.socket(socket.AF_UNIX if unix != self.bind else socket.AF_INET) as probe:
            return probe.connect_ex(unix if unix != self.bind else (host, int(port))) == 0

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.service.pid = self.before  # of the one beside which it ran
        self.log.close()


# our own client, with which members log in
ENSURE = (
    "client",
    "ensure",
    "farmlet",
    "--own",
    "--name=Farmlet command",
    "--public",
    "--grant=device,refresh",
    f"--audience={ANY} ssh",
)


@contextmanager
def found(folder: Path, database: str = "", *options: str) -> Iterator[Service]:
    """A running service of a facility of its own in `folder`; `options` of gunicorn."""
    port = find_port()
    running = Service(f"https://localhost:{port}", folder, str(folder / "tls.crt"), database)
    write_certificate(folder)
    write_config(running)
    running.do("migrate")
    running.do("keys", "ensure")
    running.do("groups", "ensure")
    running.do(*ENSURE)
    limits = ("--scope=openid offline_access storage.read:/ storage.modify:/", f"--audience={ANY}")
    running.do("client", "ensure", "batch", "--public", "--grant=device,refresh", *limits)
    running.register("accounts", "--grant=client_credentials", "--scope=scim:read")
    tls = ("--certfile", running.cafile, "--keyfile", str(folder / "tls.key"))
    with serve(running, f"127.0.0.1:{port}", *tls, *options):
        yield running
    running.console.close()


def write_config(service: Service, **changes: Any) -> None:
    folder = service.folder
    service.audit.parent.mkdir(mode=0o700, exist_ok=True)  # with PostgreSQL nothing else is kept there
    values = {
        "issuer": service.issuer,
        "title": "Example facility",
        "database": service.database or str(folder / "db" / "db.sqlite3"),
        "audit": str(service.audit),
        "keys": str(folder / "keys"),
        "secret_key_file": str(folder / "secret"),
        "rights": RIGHTS.to_json(),
        "lifetimes": {"access": 600, "refresh": 86400},
        "device_interval": 1,
        "seen": str(folder / "seen.json"),
        "elements": ELEMENTS,
        "logins": {"ssh": "log in by SSH as you"},
    }
    service.config.write_text(json.dumps(values | changes))


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # of two that who asks trusts each needs a name of its own
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"localhost {folder.name}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(1))
    builder = builder.add_extension(names, False).add_extension(x509.BasicConstraints(True, None), True)
    certificate = builder.sign(key, hashes.SHA256())
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*pem))
