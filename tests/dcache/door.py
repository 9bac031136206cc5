"""The WebDAV door: names, rights, and the way to the pool. §3, §4."""

from __future__ import annotations

import posixpath
import urllib.parse
from collections.abc import Callable

from dcache import copies
from dcache.exchange import Broken, Exchange
from dcache.listing import write_html, write_multistatus
from dcache.namespace import Entry
from dcache.tokens import Login


class Refusal(Exception):
    def __init__(self, status: int, body: str = "", phrase: str | None = None) -> None:
        super().__init__(status, body, phrase)
        self.status, self.body, self.phrase = status, body, phrase


class Door(Exchange):
    login: Login = ()

    def serve(self) -> None:
        dcache, address = self.dcache, self.client_address[0]
        dcache.hear("door", self)
        self.place = posixpath.normpath("/" + urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/"))
        if dcache.authority.is_blocked(address):
            self.answer(429, b"Server is busy. Please try again later.")
            return
        try:
            self.login = self.log_in()
            methods: dict[str, Callable[[], None]] = {
                "GET": self.get, "HEAD": self.head, "PUT": self.put, "DELETE": self.delete,
                "MKCOL": self.make, "MOVE": self.move, "PROPFIND": self.list, "COPY": self.copy,
            }  # fmt: skip
            methods[self.command]()
        except Broken:
            self.close_connection = True
        except Refusal as refusal:
            if refusal.status == 401:
                dcache.authority.count_error(address)
                self.answer(401, phrase="login failed", WWW_Authenticate='Basic realm=""')
            else:
                self.answer(refusal.status, refusal.body.encode(), refusal.phrase)

    do_GET = do_HEAD = do_PUT = do_DELETE = do_MKCOL = do_MOVE = do_PROPFIND = do_COPY = serve

    def log_in(self) -> Login:
        """A token in the URL is none."""
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        found = self.dcache.authority.find_login(token) if kind.lower() == "bearer" else None
        if found is None:
            raise Refusal(401)
        return found

    def need(self, verb: str, path: str = "") -> None:
        path = path or self.place
        if not self.dcache.authority.may(self.login, verb, path):
            raise Refusal(403, f"Permission denied for {self.command} on path {path}")

    def entry(self) -> Entry:
        found = self.dcache.namespace.find(self.place)
        if found is None:
            raise Refusal(404)
        return found

    def target(self) -> str:
        return posixpath.normpath(urllib.parse.unquote(urllib.parse.urlsplit(self.headers.get("Destination", "")).path))

    # reading

    def get(self) -> None:
        found = self.dcache.namespace.find(self.place)
        self.need("list" if found and found.folder else "read")
        found = self.entry()
        if found.folder:
            self.answer(200, write_html(self.dcache.namespace, self.place), Content_Type="text/html;charset=utf-8")
        elif not found.whole:
            raise Refusal(500, "File upload not yet completed" if found.length is None else "Internal Server Error")
        elif self.dcache.redirect:
            self.answer(302, Location=self.dcache.lead(self.place, found, "GET"))
        else:
            self.give(found)

    def head(self) -> None:
        self.need("stat")
        found = self.entry()
        length = {} if found.length is None else {"Content_Length": str(found.length)}
        self.send_response(200)
        for name, value in (length | self.find_digest(found)).items():
            self.send_header(name.replace("_", "-"), value)
        if not length:
            self.send_header("Connection", "close")
        self.end_headers()

    def list(self) -> None:
        asked = b"".join(self.read_body())
        self.need("list" if self.entry().folder else "stat")
        body = write_multistatus(self.dcache.namespace, self.place, self.headers.get("Depth", "1") != "0", asked)
        self.answer(207, body, Content_Type="application/xml;charset=utf-8")

    # writing

    def put(self) -> None:
        names, found = self.dcache.namespace, self.dcache.namespace.find(self.place)
        self.need("overwrite" if found else "create")
        if found and self.headers.get("If-None-Match") == "*":
            raise Refusal(412)
        if found and found.folder:
            raise Refusal(409)
        entry = names.begin(self.place)
        if self.expects and self.dcache.redirect:
            self.answer(307, Location=self.dcache.lead(self.place, entry, "PUT"), Connection="close")
            self.close_connection = True
        else:
            self.receive(self.place, entry, keep=False)

    def delete(self) -> None:
        self.need("delete")
        self.entry()
        self.dcache.namespace.remove(self.place)
        self.answer(204)

    def make(self) -> None:
        self.need("create")
        if self.dcache.namespace.find(self.place):
            raise Refusal(405)
        if not self.dcache.namespace.has_parent(self.place):
            raise Refusal(409)
        self.dcache.namespace.make_folder(self.place)
        self.answer(201)

    def move(self) -> None:
        names, target = self.dcache.namespace, self.target()
        self.need("rename")
        self.need("rename", target)
        self.entry()
        if not names.has_parent(target):
            raise Refusal(409)
        if old := names.find(target):
            if self.headers.get("Overwrite", "F") != "T":
                raise Refusal(412)
            self.need("overwrite", target)
            names.remove(target)
        names.move(self.place, target)
        self.answer(204 if old else 201)

    def copy(self) -> None:
        for _ in self.read_body():
            pass
        copies.serve(self, Refusal)
