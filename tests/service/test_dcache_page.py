"""A dCache (a stand-in for one) that was configured by the page for its admin takes our tokens."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from dcache import PREFIX
from dcache.centre import AUDIENCE, ISSUER, Centre
from dcache.page import BLOCK, configure
from dcache.tokens import Unknown
from farmlet.engine.authority import Authority
from farmlet.facility.load import loads
from farmlet.parts.identity.service.tokens.tokens import claim_access, sign
from farmlet.parts.part import find
from farmlet.parts.storage import remote
from farmlet.parts.storage.elements import find_elements
from farmlet.runtime import certificates

pytestmark = pytest.mark.service
TEXT = """
farmlet: 1
facility: {{name: lab, title: Example, domain: farmlet.test}}
nodes:
  head: {{connect: fake, runs: [access, storage]}}
  service: {{connect: fake, runs: [identity, accounts]}}
groups:
  lab: {{login: true, storage: {{read: [/], write: ["/users/{{user}}"]}}}}
storage:
  elements:
    - {{name: centre, kind: dcache, url: {url}, prefix: {prefix}}}
"""


@pytest.fixture
def centre(running: Centre) -> Centre:
    return running


def test_what_the_page_says_is_enough(centre: Centre) -> None:
    facility = loads(TEXT.format(url=centre.dcache.url, prefix=PREFIX), "facility.yaml", find())
    text = remote.describe(facility, "centre", "CA\n").text
    authority = configure(text.replace(facility.issuer, ISSUER), centre._fetch)
    assert set(authority.audiences) == {AUDIENCE, centre.dcache.url}
    old, centre.dcache.authority = centre.dcache.authority, replace(authority)
    try:
        base = find_elements(facility)["centre"].url
        for audience in authority.audiences:
            claims = claim_access(ISSUER, "1", "c", [audience], ["storage.read:/", "storage.modify:/users/ada"], 3600)
            token = sign(claims, centre.keys[-1])
            assert centre.ask("PUT", "", token, b"data", url=f"{base}/users/ada/file").status == 201
            assert centre.ask("PUT", "", token, b"data", url=f"{base}/data/file").status == 403
    finally:
        centre.dcache.authority = old
    for needed in ("session  requisite  omnisession", "username:lab root:/ home:/"):
        with pytest.raises(Unknown, match="home-directory"):
            configure(text.replace(needed, ""), centre._fetch)


def test_what_is_published_is_put_where_the_grid_looks(centre: Centre, tmp_path: Path) -> None:
    """The page's own lines: an authority and its list, both by the hash of its name."""
    authority = Authority(tmp_path, "facility", "farmlet.test", "farmlet.test: Example authority")
    authority.ensure()
    renewal = certificates.make_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(renewal, hashes.SHA256())
    own = authority.delegate(request.public_bytes(serialization.Encoding.PEM).decode())
    (tmp_path / "renewal.crl").write_bytes(certificates.make_list(own.encode(), renewal, 30))
    facility = loads(TEXT.format(url=centre.dcache.url, prefix=PREFIX), "facility.yaml", find())
    text = remote.describe(facility, "centre", "CA\n").text
    block = next(one for one in BLOCK.findall(text) if "rehash" in one)
    grid = tmp_path / "grid"
    grid.mkdir()
    (tmp_path / "facility.pem").write_text(authority.read())
    script = block.replace("/etc/grid-security/certificates", str(grid)).replace("--cacert /etc/dcache/lab.pem ", "")
    script = script.replace("https://service.farmlet.test/authority", f"file://{tmp_path}")
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, capture_output=True)
    named = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", tmp_path / "facility.pem"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert (grid / f"{named}.0").exists() and (grid / f"{named}.r0").exists()
    assert len(list(grid.glob("*.r0"))) == 2


def test_the_store_of_the_page_is_one(centre: Centre, tmp_path: Path) -> None:
    """With Java's own tool, where there is one."""
    if subprocess.run(["sh", "-c", "command -v keytool"], capture_output=True).returncode:
        pytest.skip("no keytool here")
    facility = loads(TEXT.format(url=centre.dcache.url, prefix=PREFIX), "facility.yaml", find())
    text = remote.describe(facility, "centre", "CA\n").text
    (tmp_path / "lab.pem").write_text(centre.cafile.read_text())
    (line,) = (one for one in text.splitlines() if one.startswith("keytool "))
    subprocess.run(["sh", "-ec", line.replace("/etc/dcache", str(tmp_path))], check=True, capture_output=True)
    words = ["keytool", "-list", "-storepass", "changeit", "-keystore", str(tmp_path / "issuers.store"), "-alias", "lab"]
    assert "trustedCertEntry" in subprocess.run(words, check=True, capture_output=True, text=True).stdout
