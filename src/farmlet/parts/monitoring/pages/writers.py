"""Where programs outside write numbers of their own: InfluxDB's line protocol with a token. WSGI, before the log-in.

POST /influx/write, as InfluxDB 1 has it (a password is the token), POST /influx/api/v2/write, as InfluxDB 2 has it; Telegraf
speaks both. Sources: InfluxDB docs, "Line protocol reference" and "InfluxDB API reference".

A writer writes under names that are none of ours, so that it calms no alarm, and has a bounded number of series.
"""

from __future__ import annotations

import json
import logging
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from farmlet.parts.monitoring.pages.store import Away, Store
from farmlet.parts.monitoring.pages.tokens import identify
from farmlet.runtime.wsgi import Environ, Refused, Start

PATHS = ("/influx/write", "/influx/api/v2/write", "/influx/ping")
BODY_BYTES, TEXT_BYTES = 1024 * 1024, 8 * 1024 * 1024  # as it comes, and unpacked
SERIES = 10000  # of a writer in a day
FIELDS = 64  # of a line
# the key of a line: measurement, then tags; a blank or comma in it has a backslash before it
KEY = re.compile(rb"((?:\\.|[^\\ ,\n])+)((?:,(?:\\.|[^\\ \n])*)?) +(\S[^\n]*)")
NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_.:-]{0,99}")
TAG = re.compile(rb",(?!__)[A-Za-z_][A-Za-z0-9_.:-]{0,99}=(?:\\.|[^\\ ,\n])*")
OURS = re.compile(rb"(farmlet|node|up|scrape|alerts|vm)(?![a-z0-9])", re.IGNORECASE)
TEXT = re.compile(rb'"(?:\\.|[^"\\])*"')
PRECISIONS = ("ns", "n", "us", "u", "ms", "s", "m", "h")
log = logging.getLogger("farmlet.writers")


class Writers:
    """The WSGI application. `tokens`: token by name of the writer."""

    def __init__(self, store: Store, tokens: Mapping[str, str]) -> None:
        self._store, self._tokens = store, dict(tokens)
        self._series: dict[str, set[int]] = {name: set() for name in tokens}
        self._day = 0

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            status, words = self._take(environ)
        except Refused as refused:
            status, words = int(refused.status[:3]), refused.text
        except Away:
            status, words = 503, "the store does not answer just now"
        start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")])
        return [json.dumps({"error": words}).encode()] if words else []

    def _take(self, environ: Environ) -> tuple[int, str]:
        if environ.get("PATH_INFO") == "/influx/ping":
            return 204, ""
        if environ["REQUEST_METHOD"] != "POST":
            raise Refused("405 Method Not Allowed", "lines are sent by POST")
        writer = identify(str(environ.get("HTTP_AUTHORIZATION", "")), self._tokens)
        precision = dict(parse_qsl(str(environ.get("QUERY_STRING", "")))).get("precision", "")
        if precision and precision not in PRECISIONS:
            raise Refused("400 Bad Request", f"precision is one of {', '.join(PRECISIONS)}")
        lines, wrong = self._sort(writer, read_text(environ))
        if lines and (status := self._store.take(writer, b"\n".join(lines) + b"\n", precision)) >= 300:
            return (
                (503, "the store does not take it just now") if status >= 500 else (400, "the store reads no line protocol in it")
            )
        return (400, f"partial write: {wrong}") if wrong else (204, "")

    def _sort(self, writer: str, text: bytes) -> tuple[list[bytes], str]:
        """The lines that are taken, and what is wrong with the first of the others."""
        if self._day != (day := int(time.time() // 86400)):
            self._day, self._series = day, {name: set() for name in self._tokens}
        kept, wrong = list[bytes](), ""
        for number, line in enumerate(text.split(b"\n"), 1):
            if not line.strip() or line.startswith(b"#"):
                continue
            fault = self._look(writer, line.rstrip(b"\r"))
            if fault:
                wrong = wrong or f"line {number}: {fault}"
            else:
                kept.append(line.rstrip(b"\r"))
        if wrong:
            log.warning("writer %s: %s", writer, wrong)
        return kept, wrong

    def _look(self, writer: str, line: bytes) -> str:
        """What is wrong with a line, or ""."""
        found = KEY.fullmatch(line)
        if not found:
            return "no line protocol"
        name, tags, rest = found.groups()
        if not NAME.fullmatch(name) or OURS.match(name):
            return "a measurement's name is like beam_current, and does not begin as the facility's own do"
        if TAG.sub(b"", tags):
            return "a tag's name is like detector"
        fields = TEXT.sub(b"", rest).count(b"=")
        if not 1 <= fields <= FIELDS:
            return f"a line has 1 to {FIELDS} fields"
        known = self._series[writer]
        series = {hash((name, tags, number)) for number in range(fields)} - known
        if len(known) + len(series) > SERIES:
            return f"more than {SERIES} series in a day: new ones are left out until tomorrow"
        known |= series
        return ""


def read_text(environ: Environ) -> bytes:
    """The body, unpacked. Raises Refused for one that is too long or cannot be read."""
    length = str(environ.get("CONTENT_LENGTH") or "")
    if not length.isdigit() and not environ.get("wsgi.input_terminated"):
        raise Refused("411 Length Required", "say how long the body is")
    data: bytes = environ["wsgi.input"].read(min(int(length), BODY_BYTES + 1) if length.isdigit() else BODY_BYTES + 1)
    if len(data) > BODY_BYTES:
        raise Refused("413 Content Too Large", f"at most {BODY_BYTES} bytes")
    if environ.get("HTTP_CONTENT_ENCODING", "identity") == "identity":
        return data
    if environ["HTTP_CONTENT_ENCODING"] != "gzip":
        raise Refused("415 Unsupported Media Type", "plain or gzip")
    unpack = zlib.decompressobj(31)
    try:
        text = unpack.decompress(data, TEXT_BYTES)
    except zlib.error:
        raise Refused("400 Bad Request", "no gzip") from None
    if unpack.unconsumed_tail:
        raise Refused("413 Content Too Large", f"at most {TEXT_BYTES} bytes unpacked")
    if not unpack.eof:
        raise Refused("400 Bad Request", "no whole gzip")
    return text
