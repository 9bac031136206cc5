"""The check that writes to an element, at a dCache (a stand-in for one): in order, and in each way that it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import ECKey

from dcache import PREFIX
from dcache.centre import ISSUER, Centre
from farmlet.facility.scopes import PROBE
from farmlet.parts.identity.service.tokens.tokens import claim_access, sign
from farmlet.parts.sitetests.shipped import storage as sitetest
from farmlet.parts.storage import probe
from farmlet.runtime import oauth
from farmlet.runtime.checks import Failed

pytestmark = pytest.mark.service
HOUR = 3600


@pytest.fixture
def centre(running: Centre, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Centre]:
    """It knows an issuer whose tokens are as ours."""
    running.reset()
    probe._tokens.clear(), probe._resting.clear()

    def obtain(
        issuer: str, client: str, secret: str, scope: str, cafile: str | None = None, *, audience: str = ""
    ) -> oauth.Tokens:
        claims = claim_access(ISSUER, client, client, [audience], scope.split(), HOUR)
        return oauth.Tokens(sign(claims, running.keys[-1]), "", HOUR, scope)

    monkeypatch.setattr(oauth, "obtain", obtain)
    (tmp_path / "secret").write_text("secret")
    yield running
    running.dcache.close()
    running.dcache.pool_certificate = None
    running.dcache.open()


@pytest.fixture
def check(centre: Centre, tmp_path: Path) -> Callable[[], str]:
    def run() -> str:
        dcache = centre.dcache
        return probe.check_element(dcache.base, dcache.url, ISSUER, str(tmp_path / "secret"), str(centre.trust), digest=False)

    return run


def asked(centre: Centre) -> list[str]:
    return [f"{one.method} {one.port}" for one in centre.dcache.heard]


def test_it_follows_to_the_pool_without_its_token(centre: Centre, check: Callable[[], str]) -> None:
    assert "4096 bytes written, read back, deleted" in check()
    assert asked(centre) == ["PUT door", "GET door", "GET pool", "DELETE door", "GET door"]
    assert ["Authorization" in one.headers for one in centre.dcache.heard] == [True, True, False, True, True]
    assert not [path for path in centre.dcache.namespace.entries if path.startswith(f"{PREFIX}{PROBE}/")]


def test_a_body_is_sent_again_where_the_door_leads_it(
    centre: Centre, check: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dcache.exchange.Exchange.parse_request", always_expecting)
    assert "read back" in check()
    assert asked(centre)[:2] == ["PUT door", "PUT pool"]


def always_expecting(self: object) -> bool:
    from http.server import BaseHTTPRequestHandler

    done = BaseHTTPRequestHandler.parse_request(self)  # type: ignore[arg-type]
    if done and "uuid" not in self.path:  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers.get("Content-Length") or 0))  # type: ignore[attr-defined]
        self.expects = True  # type: ignore[attr-defined]
    return done


def test_a_door_that_passes_data_on_itself_will_do(centre: Centre, check: Callable[[], str]) -> None:
    centre.dcache.redirect = False
    assert "read back" in check()
    assert {one.port for one in centre.dcache.heard} == {"door"}


def test_down(centre: Centre, check: Callable[[], str]) -> None:
    centre.dcache.close()
    with pytest.raises(Failed, match="refused"):
        check()
    centre.dcache.open()
    assert "read back" in check()


def test_full(centre: Centre, check: Callable[[], str]) -> None:
    centre.dcache.namespace.room = 100
    with pytest.raises(Failed, match="507: Insufficient storage: SER_DISK_FULL"):
        check()
    centre.dcache.namespace.room = None
    assert "read back" in check()


def test_refused_it_asks_once_a_minute(centre: Centre, check: Callable[[], str]) -> None:
    check()
    authority, keys = centre.dcache.authority, list(centre.keys)
    centre.dcache.heard.clear()
    try:
        centre.keys[:] = [ECKey.generate_key("P-256", {"kid": "other"})]  # which it will know of in hours
        probe._tokens.clear()
        for _ in range(8):  # two minutes of the agent's, less its pauses
            with pytest.raises(Failed, match=r"answers 401: login failed .*takes no token of this facility.*6 hours"):
                check()
        assert asked(centre) == ["PUT door"], "nothing is repeated, and nothing cleaned up"
        assert not authority.is_blocked("127.0.0.1")
    finally:
        centre.keys[:] = keys
    probe._resting.clear()
    assert "read back" in check()


def test_blocked_it_says_so(centre: Centre, check: Callable[[], str]) -> None:
    for _ in range(3):
        centre.ask("GET", "/", "x")
    centre.dcache.heard.clear()
    for _ in range(2):
        with pytest.raises(Failed, match=r"429: Server is busy.*three refused tokens"):
            check()
    assert asked(centre) == ["PUT door"]


def test_a_clock_that_is_a_little_behind_does_not_matter(centre: Centre, check: Callable[[], str]) -> None:
    """It knows no leeway: tokens begin before now."""
    centre.dcache.authority.behind = 25
    assert "read back" in check()


def test_a_wrong_clock_is_named(centre: Centre, check: Callable[[], str]) -> None:
    centre.dcache.authority.behind = 90
    with pytest.raises(Failed, match=r"401: login failed .*its clock is (89|90|91) s behind"):
        check()


def test_a_pool_with_another_certificate(centre: Centre, check: Callable[[], str]) -> None:
    centre.dcache.close()
    centre.dcache.pool_certificate = centre.certify("stranger")
    centre.dcache.open()
    pool = f"https://127.0.0.1:{centre.dcache.ports[1]}"
    with pytest.raises(Failed, match=f"GET is redirected to {pool}, and there: .*certificate verify failed"):
        check()
    assert asked(centre)[-1] == "DELETE door", "what was written is cleaned up"


def test_the_test_of_a_site_finds_it_in_order(centre: Centre, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which runs on worker nodes, as a file of its own."""
    (tmp_path / "bundle.pem").write_text(centre.cafile.read_text())
    (tmp_path / "token").write_text(centre.token(f"storage.read:{PROBE} storage.modify:{PROBE}"))
    base = centre.dcache.base
    places = {"FARMLET_CERTIFICATES": tmp_path, "FARMLET_ELEMENTS": base, "FARMLET_STORES": base, "FARMLET_SITE": "tier1"}
    for name, value in (places | {"BEARER_TOKEN_FILE": tmp_path / "token"}).items():
        monkeypatch.setenv(name, str(value))
    status, told = sitetest.test()
    assert status == 0 and "1 elements answer, 1 keep 1048576 bytes" in told
    kept = ["HEAD door", "PUT door", "GET door", "GET pool", "HEAD door"]
    # it is alone, so that it fetches from itself
    assert asked(centre) == [*kept, "COPY door", "GET door", "GET pool", "HEAD door", "DELETE door", "DELETE door"]
    assert not any("Authorization" in one.headers for one in centre.dcache.heard if one.port == "pool")


def test_nowhere_but_to_https_and_not_for_ever(centre: Centre, check: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(centre.dcache.url)
    monkeypatch.setattr("dcache.dcache.Dcache.lead", lambda *_: "http://localhost/x")
    with pytest.raises(Failed, match="redirected to an address without https: http://localhost/x"):
        check()
    monkeypatch.setattr("dcache.dcache.Dcache.lead", lambda self, path, *_: f"https://{place.netloc}{path}")
    with pytest.raises(Failed, match="redirected more than 3 times"):
        check()
