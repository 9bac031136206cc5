"""The storage element: opens with tokens beside the same server without authorisation, 1 GiB beside nginx, copies, a crowd.

    storage.py [FOLDER]     in a sandbox of its own, or in the one that is up in FOLDER (which is left as it was)

The client of the opens is Python on the control node, so the figures are lower bounds of the server's; ratios are of rounds that
ran one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import ROOT, farmlet, record, timed

sys.path.insert(0, str(ROOT / "tests" / "facility"))
from element import DATA, find
from person import Person
from sandbox import Sandbox

from farmlet.facility.load import default_text
from farmlet.parts.storage import element

OPENS, TOKENS, ROUNDS, GIB = 5000, 50, 3, 1 << 30
OPEN_WEB, OPEN_ROOT, NGINX = 9443, 2094, 9444
# standard input: {"url", "path", "tokens", "opens", "threads"}; prints the seconds of each open
CLIENT = r"""
import http.client, json, ssl, sys, time
from concurrent.futures import ThreadPoolExecutor
job = json.load(sys.stdin)
host, port = job["url"].removeprefix("https://").split(":")
context = ssl.create_default_context(cafile="/etc/ssl/certs/ca-certificates.crt")
lanes = [job["tokens"][number :: job["threads"]] for number in range(job["threads"])]
def work(tokens):
    connection = http.client.HTTPSConnection(host, int(port), timeout=120, context=context)
    took = []
    for number in range(job["opens"] // job["threads"]):
        began = time.monotonic()
        token = tokens[number % len(tokens)]
        connection.request("GET", job["path"], headers={"Authorization": "Bearer " + token} if token else {})
        answer = connection.getresponse()
        assert answer.status == 200 and len(answer.read()) == 4096, answer.status
        took.append(time.monotonic() - began)
    return took
began = time.monotonic()
with ThreadPoolExecutor(job["threads"]) as pool:
    took = [one for lane in pool.map(work, lanes) for one in lane]
print(json.dumps({"seconds": time.monotonic() - began, "took": sorted(took)}))
"""
# the same server, without a word about tokens
UNGUARDED = f"""\
sed -e '/^xrootd.seclib\\|^sec\\.\\|^ofs.auth\\|header2cgi\\|^ofs.persist/d' -e 's/{element.WEB_PORT}/{OPEN_WEB}/' \
  -e 's/^xrd.port .*/xrd.port {OPEN_ROOT}/' -e 's#/var/spool/xrootd#/run/bench#; s#pidpath /run/xrootd#pidpath /run/bench#' \
  {element.CONFIG} > /run/bench.cfg
install -d -o xrootd -g xrootd /run/bench
systemd-run --quiet --unit=bench-xrootd --uid=xrootd --gid=xrootd -E XDG_CACHE_HOME=/run/bench xrootd -c /run/bench.cfg -n bench
"""
PEER = f"""\
apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends nginx-light >/dev/null
systemctl disable --now nginx 2>/dev/null
install -d -o xrootd {DATA}/bench /run/bench-nginx
cat > /run/bench-nginx.conf <<END
daemon off; user xrootd; pid /run/bench-nginx/pid; error_log stderr; events {{}}
http {{ access_log off; client_max_body_size 0; client_body_temp_path {DATA}/bench/tmp;
  server {{ listen {NGINX} ssl; ssl_certificate {element.CERTIFICATE}; ssl_certificate_key {element.KEY};
    location / {{ root {DATA}; dav_methods PUT DELETE; }} }} }}
END
systemd-run --quiet --unit=bench-nginx nginx -c /run/bench-nginx.conf
"""
CLEAN = f"systemctl stop bench-xrootd bench-nginx 2>/dev/null; rm -rf {DATA}/bench /run/bench*; true"


class Bench:
    """A member with many tokens, and the servers they are tried on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.person = Person.join(sandbox, "benchmark", "lab")
        self.here, self.there = find(sandbox)
        self.folder = f"/users/{self.person.name}"
        first = self.person.authorise(f"offline_access storage.read:{self.folder} storage.modify:{self.folder}")
        self.tokens = []
        for _ in range(TOKENS):
            first = self.person.refresh(first)
            self.tokens.append(first.access_token)
        assert self.here.put(f"{self.folder}/small", self.tokens[0], b"x" * 4096) == 201

    def open(self, port: int, tokens: list[str], opens: int, threads: int) -> dict[str, Any]:
        """Opens from the control node; tokens go by standard input."""
        url = f"https://{self.here.host}:{port}"
        job = {"url": url, "path": f"{self.folder}/small", "tokens": tokens, "opens": opens, "threads": threads}
        command = ["docker", "exec", "-i", self.sandbox.container("service"), "python3", "-c", CLIENT]
        done = subprocess.run(command, input=json.dumps(job), capture_output=True, text=True, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def opens(self) -> None:
        guarded, bare, ratios, work, cold = [], [], [], [], []
        for _ in range(ROUNDS):
            spent = [self.spent("bench-xrootd")]
            bare.append(OPENS / self.open(OPEN_WEB, [""] * 2, OPENS, 2)["seconds"])
            spent.append(self.spent("bench-xrootd"))
            self.open(element.WEB_PORT, self.tokens, TOKENS, 2)  # each token once: warm
            spent.append(self.spent(element.UNIT))
            guarded.append(OPENS / self.open(element.WEB_PORT, self.tokens, OPENS, 2)["seconds"])
            spent.append(self.spent(element.UNIT))
            ratios.append(100 * guarded[-1] / bare[-1])
            work.append(100 * (spent[3] - spent[2]) / (spent[1] - spent[0]))
            self.sandbox.exec("head", element.FORGET + " && sleep 2")
            cold.append(OPENS / self.open(element.WEB_PORT, self.tokens, OPENS, 2)["seconds"])
        note = f"{OPENS} GETs of 4 kB on two kept connections, {TOKENS} tokens in turn"
        record("storage: opens with tokens, warm", "reported", "/s", guarded, note)
        record("storage: opens with tokens, cold", "reported", "/s", cold, f"{note}; the server just started, no key kept")
        record("storage: opens without authorisation", "peer", "/s", bare, "the same server and files, nothing asked")
        record("storage: opens with tokens ÷ without", "≥ 80 %", "%", ratios, "warm, of rounds that ran one after the other")

        said = "warm; the client is the slower part of the others, so this is what tokens cost the server"
        record("storage: the server's own time of an open, with tokens ÷ without", "≤ 125 %", "%", work, said)

    def spent(self, unit: str) -> float:
        """Seconds of processor time that a server has used."""
        place = f"/proc/$(systemctl show -p MainPID --value {unit})/stat"
        return float(self.sandbox.exec("head", f"awk '{{print ($14 + $15) / 100}}' {place}"))

    def crowd(self) -> None:
        found = self.open(element.WEB_PORT, self.tokens, 20 * TOKENS, TOKENS)["took"]
        note = f"{TOKENS} connections with a token each, 20 opens of 4 kB each, all at once; none failed"
        record("storage: 50 clients at once, 95th percentile", "reported", "ms", [1000 * found[int(0.95 * len(found))]], note)

    def streams(self) -> None:
        """1 GiB by curl on the control node, to XRootD and to nginx on the same disk, in turn."""
        for name, port, path in (("storage", element.WEB_PORT, f"{self.folder}/big"), ("nginx", NGINX, "/bench/big")):
            url = f"https://{self.here.host}:{port}{path}"
            write = f"head -c {GIB} /dev/zero | curl -sS --fail -K /dev/fd/3 -T - {url}"
            read = f"curl -sS --fail -K /dev/fd/3 -o /dev/null {url}"
            for verb, script in (("write", write), ("read", read)):
                values = [GIB / 2**20 / timed(lambda script=script: self.curl(script)) for _ in range(ROUNDS)]  # type: ignore[misc]
                goal, note = ("reported", "XRootD") if name == "storage" else ("peer", "nginx on the same disk")
                record(f"storage: {verb} 1 GiB, {name}", goal, "MiB/s", values, f"{note}, one stream over TLS, curl")

    def curl(self, script: str) -> None:
        given = f'header = "Authorization: Bearer {self.tokens[0]}"\n'
        command = ["docker", "exec", "-i", self.sandbox.container("service"), "sh", "-ec", f"exec 3<&0; {script} >/dev/null"]
        subprocess.run(command, input=given, text=True, check=True)

    def copies(self) -> None:
        token = self.tokens[0]
        given = {"Source": f"{self.here.url}{self.folder}/big", "TransferHeaderAuthorization": f"Bearer {token}"}

        def copy() -> None:
            answer = self.there.ask("COPY", f"{self.folder}/copy", token, headers=given, seconds=600)
            assert answer.copied, answer.body[-200:]

        rates = [GIB / 2**20 / timed(copy) for _ in range(ROUNDS)]
        record("storage: third-party copy of 1 GiB", "reported", "MiB/s", rates, "pulled by tier1's element, both on one disk")
        self.there.ask("DELETE", f"{self.folder}/copy", token)
        self.here.ask("DELETE", f"{self.folder}/big", token)


def measure(sandbox: Sandbox) -> None:
    bench = Bench(sandbox)
    try:
        sandbox.exec("head", UNGUARDED)
        sandbox.exec("head", PEER)
        bench.opens()
        bench.crowd()
        bench.streams()
        bench.copies()
    finally:
        sandbox.exec("head", CLEAN)


def main() -> None:
    if sys.argv[1:]:
        known = json.loads(farmlet("validate", "--json", folder=Path(sys.argv[1])))
        return measure(Sandbox(Path(sys.argv[1]), known["name"], known["domain"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = default_text().replace("name: lab ", "name: bench ").replace("domain: farmlet.test", "domain: bench.test")
        (folder / "facility.yaml").write_text(text)
        try:
            farmlet("up", folder=folder)
            measure(Sandbox(folder, "bench", "bench.test"))
        finally:
            farmlet("down", "--purge", folder=folder)


if __name__ == "__main__":
    main()
