# /// sitetest
# timeout = 120
# token = true
# ///
"""Each storage element is reached from the site's worker nodes and shows a certificate that jobs trust. What takes the facility's
tokens, a site's own too, keeps a file: it is written with a token, read back, compared, its checksum asked for, fetched by the
next of these elements from this one (a third-party copy; one that is alone fetches it from itself), and deleted. Without one, who
has none must be refused. A copy between elements that fails is told, and no fault of the site's."""

import http.client
import os
import ssl
import time
import zlib
from typing import Dict, List, Tuple
from urllib.parse import urljoin, urlsplit

PATIENCE = 10.0  # seconds for one answer
SIZE = 1024 * 1024  # bytes
HOPS = 3  # an element may keep its data on other machines than it is asked at
LEADS = {"GET": (301, 302, 303, 307, 308), "PUT": (307, 308)}


def test() -> Tuple[int, str]:
    bundle = os.environ["FARMLET_CERTIFICATES"] + "/bundle.pem"
    assert os.path.exists(bundle), f"{bundle} is not here, by which jobs know storage"
    trust = ssl.create_default_context(cafile=bundle)
    token, missing = read_token()
    stores = os.environ.get("FARMLET_STORES", "").split()
    faults: List[str] = []
    failed: List[str] = []  # copies
    numbers: List[str] = []
    kept = 0
    for url in os.environ["FARMLET_ELEMENTS"].split():
        label = urlsplit(url).netloc
        connection = http.client.HTTPSConnection(label, timeout=PATIENCE, context=trust)
        start = time.monotonic()
        try:
            refuse(connection, urlsplit(url).path.rstrip("/") + "/data")
            if token and url in stores:
                target = stores[(stores.index(url) + 1) % len(stores)]
                rates = keep(connection, url, target, token, trust, failed)
                numbers += [f"'{label} {word}'={rate:.1f}MB" for word, rate in rates.items()]
                kept += 1
        except (OSError, http.client.HTTPException, AssertionError) as error:
            faults.append(f"{url}: {error or type(error).__name__}")
        finally:
            connection.close()
        numbers.append(f"'{label}'={time.monotonic() - start:.3f}s")
    assert not faults, "; ".join(faults) + "|" + " ".join(numbers)
    told = f"{len(os.environ['FARMLET_ELEMENTS'].split())} elements answer, {kept} keep {SIZE} bytes"
    told += "".join(f"; {one}" for one in failed)
    # that there is no token is no fault of the site's
    return (1 if failed or (missing and stores) else 0), f"{told}{missing}|{' '.join(numbers)}"


def read_token() -> Tuple[str, str]:
    """The token, and what is to be told where there is none."""
    try:
        with open(os.environ["BEARER_TOKEN_FILE"]) as stream:
            return stream.read().strip(), ""
    except (KeyError, OSError):
        why = os.environ.get("FARMLET_NO_TOKEN", "")
        return "", f"; none was written, for there is no token{': ' + why if why else ''}"


def refuse(connection: http.client.HTTPSConnection, path: str) -> None:
    connection.request("HEAD", path)
    answer = connection.getresponse()
    answer.read()
    print(f"HEAD {connection.host}{path}: HTTP {answer.status}")
    assert answer.status not in (200, 206, 207), "it shows /data without a token"
    assert answer.status in (401, 403, 404), f"HTTP {answer.status}"


def keep(
    connection: http.client.HTTPSConnection, url: str, target: str, token: str, trust: ssl.SSLContext, failed: List[str]
) -> Dict[str, float]:
    """Rates in MB/s of writing and reading at the element `url`. `target`: which fetches the file from there; what went wrong
    with that is added to `failed`."""
    data, site = os.urandom(SIZE), os.environ["FARMLET_SITE"]
    name = f"/.farmlet/sitetests/{site}/{os.uname().nodename}-{os.getpid()}-{int(time.time())}"
    path = urlsplit(url).path.rstrip("/") + name
    bearer = {"Authorization": "Bearer " + token}
    start = time.monotonic()
    ask(connection, "PUT", path, bearer, (200, 201, 204), data, trust)
    written = time.monotonic()
    try:
        _, found = ask(connection, "GET", path, bearer, (200,), b"", trust)
        read = time.monotonic()
        assert found == data, f"of {SIZE} bytes others came back ({len(found)})"
        check_sum(connection, path, bearer, data)
        try:
            copy(url.rstrip("/") + name, target.rstrip("/") + name + "-copy", bearer, data, trust)
        except (OSError, http.client.HTTPException, AssertionError) as error:
            failed.append(f"{target} fetches nothing from {url}: {error or type(error).__name__}")
    finally:
        ask(connection, "DELETE", path, bearer, (200, 204))
    return {"write": SIZE / 1e6 / max(written - start, 1e-6), "read": SIZE / 1e6 / max(read - written, 1e-6)}


def check_sum(connection: http.client.HTTPSConnection, path: str, bearer: "Dict[str, str]", data: bytes) -> None:
    headers, _ = ask(connection, "HEAD", path, dict(bearer, **{"Want-Digest": "adler32"}), (200,))
    name, _, told = headers.get("Digest", "").partition("=")
    wanted = f"{zlib.adler32(data) & 0xFFFFFFFF:08x}"
    assert name.lower() != "adler32" or told.strip().lower().rjust(8, "0") == wanted, f"its checksum is {told}, not {wanted}"


def copy(source: str, target: str, bearer: "Dict[str, str]", data: bytes, trust: ssl.SSLContext) -> None:
    """By HTTP-TPC: the target is asked to fetch from the source, and tells in the end how that went."""
    place = urlsplit(target)
    connection = http.client.HTTPSConnection(place.netloc, timeout=PATIENCE, context=trust)
    try:
        # a dCache wants to be told that the token in this request is all it gets
        given = {"Source": source, "TransferHeaderAuthorization": bearer["Authorization"], "Overwrite": "T", "Credential": "none"}
        _, said = ask(connection, "COPY", place.path, dict(bearer, **given), (200, 201, 202))
        last = said.decode(errors="replace").strip().rpartition("\n")[2].strip()
        assert last.startswith("success"), f"the copy ends with {last[:100]!r}"
        check_sum(connection, place.path, bearer, data)
        ask(connection, "DELETE", place.path, bearer, (200, 204))
    finally:
        connection.close()


def ask(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    headers: "Dict[str, str]",
    wanted: "Tuple[int, ...]",
    data: "bytes" = b"",
    trust: "ssl.SSLContext | None" = None,
) -> "Tuple[http.client.HTTPMessage, bytes]":
    """With `trust` also where it is led on to, by https, and without the token at another host or port."""
    answer, body = send(connection, method, path, headers, data)
    place = urlsplit(f"https://{connection.host}:{connection.port}{path}")
    for _ in range(HOPS):
        if trust is None or answer.status not in LEADS.get(method, ()):
            break
        place = urlsplit(urljoin(place.geturl(), answer.headers.get("Location", "")))
        assert place.scheme == "https", f"{method} {path} is led on to what is not https: {place.geturl()[:100]}"
        home = (place.hostname, place.port or 443) == (connection.host, connection.port)
        told = {name: value for name, value in headers.items() if home or name != "Authorization"}
        other = http.client.HTTPSConnection(place.netloc, timeout=PATIENCE, context=trust)
        try:
            answer, body = send(other, method, place._replace(scheme="", netloc="").geturl(), told, data)
        finally:
            other.close()
    said = body[:100].decode(errors="replace").strip()
    assert answer.status in wanted, f"{method} {path} answers {answer.status}: {said}"
    return answer.headers, body


def send(
    connection: http.client.HTTPSConnection, method: str, path: str, headers: "Dict[str, str]", data: "bytes"
) -> "Tuple[http.client.HTTPResponse, bytes]":
    connection.request(method, path, data or None, headers)
    answer = connection.getresponse()
    body = answer.read()
    print(f"{method} {connection.host}{path.partition('?')[0]}: HTTP {answer.status}")  # what follows may be a ticket
    return answer, body
