"""The pool: data alone, to whoever knows the URL that a door gave out. §4."""

from __future__ import annotations

import urllib.parse

from dcache.exchange import Exchange


class Pool(Exchange):
    def do_GET(self) -> None:
        self.serve()

    def do_HEAD(self) -> None:
        self.serve()

    def do_PUT(self) -> None:
        self.serve()

    def serve(self) -> None:
        """No token is asked for: the URL is the ticket."""
        dcache = self.dcache
        dcache.hear("pool", self)
        ticket = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query).get("dcache-http-uuid", [""])[0]
        path, entry, method = dcache.tickets.get(ticket, ("", None, ""))
        if entry is None or (method == "PUT") != (self.command == "PUT"):
            self.answer(404)
        elif self.command == "PUT":
            del dcache.tickets[ticket]
            self.receive(path, entry, keep=True)
        else:
            self.give(entry)
