#!/usr/bin/env python3
"""The batch job: read a slice of a dimuon file from a storage element, fill the mass histogram, write it back.

    python3 dimuon.py --input URL --output URL --first N --last M

One self-contained file for Python with numpy, uproot, awkward and hist. It prints one line of JSON: where it ran and
what it counted. Credentials come as files (BEARER_TOKEN_FILE of WLCG Bearer Token Discovery, or HTCondor's credential
directory) and are read again for every request, because the batch system renews them under a running job.

The file holds candidates, not collisions: a pair of muons is listed once for every way its two muons were reconstructed
(`Type`: each as a global muon, G, or a tracker muon, T), which makes four rows and more for one collision. Filling all
of them would use a collision several times and make every statistical error too small; so only pairs of type GG count.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hist
import numpy as np
import uproot
from numpy.typing import NDArray

Array = NDArray[np.float64]
Histogram = hist.Hist[Any]
TREE = "events"
CUTS = ("rows", "two global muons", "opposite charge", "60 to 120 GeV")
BINS, LOW, HIGH = 120, 60.0, 120.0  # of the mass histogram; GeV
ATTEMPTS = 4
PACKAGES = ("numpy", "uproot", "awkward", "hist", "iminuit")


class Storage:
    """HTTP (WebDAV) access to a storage element with a bearer token (RFC 6750) from a file.

    Files are fetched whole: this one has 179 kB, less than the round trips of reading it by ranges would cost, and
    XRootD's HTTP announces no `Accept-Ranges`, over which clients that read by ranges stumble.
    """

    def __init__(self, environment: dict[str, str], pause: float = 1.0) -> None:
        self.environment, self.pause = environment, pause

    def load_token(self) -> str:
        """The token as it is now. Raises OSError if there is none, ValueError if the file is not understood."""
        directories = (self.environment.get("_CONDOR_CREDS", ""), ".condor_creds")
        places = [Path(self.environment.get("BEARER_TOKEN_FILE", "")), *(Path(d, "farmlet.use") for d in directories)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise OSError(f"no bearer token in any of {', '.join(str(place) for place in places)}")
        text = path.read_text().strip()
        # HTCondor hands over what the credential monitor wrote: the bare token, or the token endpoint's answer
        token = json.loads(text)["access_token"] if text.startswith("{") else text
        return str(token)

    def read(self, url: str) -> bytes:
        return self._request("GET", url, None)

    def write(self, url: str, data: bytes) -> None:
        self._request("PUT", url, data)

    def _request(self, method: str, url: str, data: bytes | None) -> bytes:
        """Try again where time may help: no connection, or a fault of the server (5xx)."""
        for attempt in range(ATTEMPTS):
            request = urllib.request.Request(url, data, {"Content-Type": "application/octet-stream"}, method=method)
            request.add_unredirected_header("Authorization", f"Bearer {self.load_token()}")  # for this element alone
            try:
                with urllib.request.urlopen(request, timeout=30, context=self._trust()) as answer:
                    return bytes(answer.read())
            except OSError as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if refused or attempt == ATTEMPTS - 1:
                    raise OSError(f"{method} {url}: {error}") from error
                time.sleep(self.pause * 2**attempt)
        raise AssertionError("unreachable")

    def _trust(self) -> ssl.SSLContext:
        """The system's authorities or $SSL_CERT_FILE, and the grid's: a directory of hashed names in $X509_CERT_DIR."""
        file, directory = (self.environment.get(name) for name in ("SSL_CERT_FILE", "X509_CERT_DIR"))
        context = ssl.create_default_context(cafile=file or None)
        if directory:
            context.load_verify_locations(capath=directory)
        return context


def compute_mass(rows: dict[str, Any]) -> Array:
    """Invariant mass (GeV) of each pair by its four-vectors, m² = (E₁+E₂)² − |p₁+p₂|². Shape: as the columns."""
    energy = rows["E1"] + rows["E2"]
    momentum = sum((rows[f"p{axis}1"] + rows[f"p{axis}2"]) ** 2 for axis in "xyz")
    # rounding may push a pair of nearly collinear muons below zero
    mass: Array = np.sqrt(np.maximum(energy**2 - momentum, 0.0))
    return mass


def load_rows(data: bytes, first: int, last: int) -> dict[str, Any]:
    """Columns of rows `first` ≤ i < `last` of the ROOT file `data`, as numpy arrays by branch name."""
    columns = [f"{name}{muon}" for muon in "12" for name in ("E", "px", "py", "pz", "Q")]
    with uproot.open(io.BytesIO(data)) as file:
        rows: dict[str, Any] = file[TREE].arrays([*columns, "Type", "M"], entry_start=first, entry_stop=last, library="np")
    return rows


def fill(rows: dict[str, Any]) -> tuple[Histogram, Histogram, float]:
    """The mass histogram (GeV), the number of pairs after each cut, and the largest |mass − M| (GeV; M as recorded)."""
    mass = compute_mass(rows)
    globally = np.asarray(rows["Type"] == "GG", dtype=bool)
    opposite = globally & (rows["Q1"] * rows["Q2"] < 0)
    peak = opposite & (mass >= LOW) & (mass < HIGH)
    histogram = hist.Hist.new.Reg(BINS, LOW, HIGH, name="mass", label="m(#mu^{+}#mu^{-}) [GeV]").Double()
    histogram.fill(mass[opposite])
    cuts: Histogram = hist.Hist(hist.axis.Regular(len(CUTS), 0, len(CUTS), name="cut", label="; ".join(CUTS)))
    cuts[...] = [len(mass), globally.sum(), opposite.sum(), peak.sum()]
    return histogram, cuts, float(np.abs(mass - rows["M"]).max(initial=0.0))


def store(histogram: Histogram, cuts: Histogram) -> bytes:
    """A ROOT file with the histograms `mass` and `cuts` (TH1D)."""
    buffer = io.BytesIO()
    with uproot.recreate(buffer) as file:
        file["mass"], file["cuts"] = histogram, cuts
        return buffer.getvalue()  # complete after each assignment; closing the file closes the buffer too


def describe(environment: dict[str, str]) -> dict[str, str]:
    """Where this process runs: host, the site as the slot's advertisement names it, the image as it names itself, and the
    versions of what is used of it."""
    site = "none"
    machine = Path(environment.get("_CONDOR_MACHINE_AD", ".machine.ad"))
    if machine.is_file():
        pairs = (line.partition("=") for line in machine.read_text().splitlines())
        site = {name.strip(): value.strip().strip('"') for name, _, value in pairs}.get("FarmletSite", "none")
    stamp = Path("/etc/farmlet-image")
    return {
        "host": socket.gethostname(),
        "site": site,
        "versions": ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]),
        "image": stamp.read_text().strip() if stamp.is_file() else "none",
        "container": environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER", "none"),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input", required=True, metavar="URL")
    parser.add_argument("--output", required=True, metavar="URL")
    parser.add_argument("--first", type=int, required=True, help="first row")
    parser.add_argument("--last", type=int, required=True, help="one past the last row")
    options = parser.parse_args(arguments)
    environment = dict(os.environ)
    storage = Storage(environment)
    began = time.monotonic()
    try:
        rows = load_rows(storage.read(options.input), options.first, options.last)
        histogram, cuts, deviation = fill(rows)
        storage.write(options.output, store(histogram, cuts))
    except (OSError, ValueError, KeyError) as error:
        print(f"dimuon.py: {error}", file=sys.stderr)
        return 1
    counts = dict(zip(CUTS, (int(value) for value in cuts.values()), strict=True))
    seconds = round(time.monotonic() - began, 3)
    report = {**describe(environment), "counts": counts, "deviation": deviation, "seconds": seconds}
    print(json.dumps({**report, "output": options.output}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
