"""The agent's way to the control API: HTTPS with the node's own certificate. Standard library only."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farmlet.errors import FarmletError

ANSWER_BYTES = 64 * 1024 * 1024
ITEM_SECONDS = 60


class Unreachable(FarmletError):
    """The control API does not answer, or not as it should; try again later."""


@dataclass(frozen=True)
class Parcel:
    """What the control API wants on this node: contents by name, and a name for all of it together."""

    version: str
    items: dict[str, bytes]


class Client:
    """Speaks to the control API at `url`, whose certificate `ca` must vouch for, as the node that `certificate` and `key` name.

    All three are paths of PEM files; they are read again for each call, since certificates are renewed in place.
    """

    def __init__(self, url: str, ca: str, certificate: str, key: str) -> None:
        self._url, self._ca, self._certificate, self._key = url, ca, certificate, key

    def fetch(self, known: Parcel, wait: int) -> Parcel:
        """The wanted state, as soon as it is another than `known`, or after `wait` seconds. Raises Unreachable."""
        answer = json.loads(self._call("GET", f"/node/wanted?version={known.version}&wait={wait}", None, wait + 10))
        try:
            items = {name: self._open(name, item, known.items.get(name)) for name, item in answer["items"].items()}
            return Parcel(str(answer["version"]), items)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unreachable(self._url, f"an answer that cannot be read: {error!r}") from error

    def _open(self, name: str, item: dict[str, str], known: bytes | None) -> bytes:
        """The content of an item: out of the answer, or of a large one what is `known`, or the control API's next answer."""
        if "content" in item:
            data = base64.b64decode(item["content"], validate=True)
        elif known is not None and hashlib.sha256(known).hexdigest() == item["sha256"]:
            return known
        else:
            data = self._call("GET", f"/node/item/{name}", None, ITEM_SECONDS)
        if hashlib.sha256(data).hexdigest() != item["sha256"]:
            raise Unreachable(self._url, f"item {name} arrived damaged")  # or changed meanwhile: the next answer has both
        return data

    def publish(self, name: str, data: bytes) -> None:
        """Leave `data` in this node's inbox. Raises Unreachable."""
        self._call("PUT", f"/node/inbox/{name}", data, 10)

    def report(self, results: Sequence[dict[str, Any]]) -> None:
        """Hand in the results of the checks. Raises Unreachable."""
        self._call("POST", "/node/results", json.dumps(list(results)).encode(), 10)

    def renew(self, request: str, names: Sequence[str], client: bool) -> bytes:
        """A certificate for a request (PEM), and the chain behind it (PEM). Raises Unreachable, also when it is refused."""
        asked = {"request": request, "names": list(names), "client": client}
        return self._call("POST", "/renewal/certificate", json.dumps(asked).encode(), 30)

    def _call(self, method: str, path: str, data: bytes | None, timeout: float) -> bytes:
        headers = {"Content-Type": "application/octet-stream"} if data is not None else {}
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=headers)
        try:
            context = ssl.create_default_context(cafile=self._ca)
            context.load_cert_chain(self._certificate, self._key)
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                body: bytes = answer.read(ANSWER_BYTES)
                return body
        except urllib.error.HTTPError as error:
            text = error.read(200).decode(errors="replace").strip()
            raise Unreachable(f"{method} {self._url}{path}", f"answers {error.code}: {text}") from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unreachable(f"{method} {self._url}{path}", f"{getattr(error, 'reason', error)}") from error
