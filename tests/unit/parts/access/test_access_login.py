"""The pure parts of a log-in: what a facility may say of itself, what ssh is given, when it is time, what is said."""

from __future__ import annotations

import io
import ssl
import sys
import time
import urllib.error
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from farmlet.cli import login
from farmlet.errors import FarmletError, InputError
from farmlet.parts.access.authority import known_hosts
from farmlet.parts.access.login import about, discovery, renew, snippet, stay, words
from farmlet.parts.access.login.enter import normalise
from farmlet.parts.access.login.places import Place, root
from farmlet.parts.access.login.state import Span, State, find_due, load, save
from farmlet.runtime.issuer import screen
from farmlet.runtime.oauth import OAuthError, Started, Unreachable

URL = "https://service.farmlet.test"
SAID: dict[str, Any] = {
    "name": "lab",
    "title": "Example facility",
    "domain": "farmlet.test",
    "issuer": URL,
    "client": "farmlet",
    "scope": "storage.read:/",
    "hours": 12,
    "nodes": ["head.farmlet.test"],
    "authority": known_hosts("farmlet.test", "ssh-ed25519 AAAA lab hosts").strip(),
}
AUP = "User ada needs to sign AUP for this organization in order to proceed."
KNOWN = State(URL, "", URL, "farmlet", "storage.read:/", "ada", "r1", Span(0, 90), Span(0, 30))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "BEARER_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def place(home: Path) -> Place:
    found = Place(root() / "lab")
    found.folder.mkdir(parents=True)
    return found


def test_a_facility_says_what_a_machine_must_know() -> None:
    found = about.parse(SAID, URL)
    assert (found.name, found.nodes, found.hours) == ("lab", ("head.farmlet.test",), 12)


@pytest.mark.parametrize(
    "more",
    [
        {"name": "../lab"},
        {"title": "\x1b[2J"},
        {"domain": "example.org"},
        {"domain": "*"},
        {"nodes": ["head.example.org"]},
        {"nodes": ["head.farmlet.test\n  ProxyCommand evil"]},
        {"client": "a b"},
        {"client": ""},
        {"scope": "a\nb"},
        {"hours": 0},
        {"hours": "x"},
        {"hours": float("inf")},
        {"authority": "@cert-authority * ssh-ed25519 AAAA"},
        {"authority": SAID["authority"] + "\n* ssh-ed25519 AAAA"},
        {"authority": "*.farmlet.test,farmlet.test ssh-ed25519 AAAA"},
    ],
)
def test_a_facility_speaks_for_its_own_hosts_only_and_in_words_that_hold(more: dict[str, Any]) -> None:
    with pytest.raises(FarmletError):
        about.parse(SAID | more, URL)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(SAID)), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.text()))))
def test_any_answer_is_either_sound_or_refused_in_words(more: dict[str, Any]) -> None:
    try:
        found = about.parse(SAID | more, URL)
    except FarmletError as error:
        assert error.where == URL and error.hint
    else:
        text = snippet.render(found, "ada", Place(Path("/home/ada/.config/farmlet/lab")))
        assert {line.split()[0] for line in text.splitlines()[1:]} <= {
            *("Host", "HostName", "Match", "User", "IdentityFile", "CertificateFile", "UserKnownHostsFile")
        }


def test_what_ssh_is_given(place: Place) -> None:
    text = snippet.render(about.parse(SAID, URL), "ada", place)
    assert 'Match host *.farmlet.test exec "' in text and ' login --fresh lab"\n' in text
    assert "Host head\n  HostName head.farmlet.test\n" in text and "  User ada\n" in text
    assert "Host head\n" not in snippet.render(about.parse(SAID, URL), "ada", place, frozenset({"head"}))


def test_a_short_name_that_is_taken_stays_its_owners(home: Path) -> None:
    (home / "config").write_text('Host a head\nhost = "b"\n  HostName x\nMatch host c\n')
    assert snippet.find_hosts([home / "config", home / "missing"]) == {"a", "head", "b"}


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "a${HOME}"])
def test_paths_that_ssh_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(FarmletError):
        snippet.escape(text)
    assert snippet.escape("/a b/100%") == "/a b/100%%"


@pytest.mark.parametrize("before", [None, b"", b"Host a\r\n  User \xff", b"# no newline at the end"])
def test_the_line_comes_and_goes_and_the_rest_stays_byte_for_byte(home: Path, place: Place, before: bytes | None) -> None:
    path = home / ".ssh" / "config"
    if before is not None:
        path.parent.mkdir()
        path.write_bytes(before)
        path.chmod(0o640)
    snippet.write_include()
    assert snippet.is_included() and path.read_bytes() == f"{snippet.include()}\n".encode() + (before or b"")
    assert path.stat().st_mode & 0o777 == (0o600 if before is None else 0o640)
    snippet.remove_include()
    assert (path.read_bytes() if path.exists() else None) == before
    snippet.remove_include()


def test_a_line_of_the_persons_own_stays(home: Path, place: Place) -> None:
    path = home / ".ssh" / "config"
    path.parent.mkdir()
    path.write_text(f"{snippet.include()}\n")
    snippet.remove_include()
    assert snippet.is_included()


def test_a_configuration_kept_elsewhere_stays_a_link(home: Path, place: Place) -> None:
    (home / ".ssh").mkdir()
    (home / "dotfiles").write_text("Host a\n")
    (home / ".ssh" / "config").symlink_to(home / "dotfiles")
    snippet.write_include()
    assert (home / ".ssh" / "config").is_symlink() and (home / "dotfiles").read_text().endswith("\nHost a\n")


def test_it_is_time_after_two_thirds(place: Place) -> None:
    for path in (*place.made, place.token):
        path.write_text("x")
    assert find_due(place, KNOWN, 19) == ()
    assert find_due(place, KNOWN, 21) == ("token",)
    assert find_due(place, KNOWN, 61) == ("certificate", "token")
    place.certificate.unlink()
    assert find_due(place, KNOWN, 19) == ("certificate",)


@given(st.floats(0, 1e9), st.floats(1, 1e6), st.floats(0, 1))
def test_the_next_renewal_is_before_the_end(now: float, length: float, share: float) -> None:
    span = Span(now, now + length)
    state = State(URL, "", URL, "farmlet", "", certificate=span)
    pause = stay.find_pause(state, now, lambda low, high: low + share * (high - low))
    assert pause == 1.0 or length * 0.66 <= pause <= length * 0.77 + 1e-3


def test_the_state_comes_back_as_it_was(place: Place) -> None:
    save(place, KNOWN, nodes=("head.farmlet.test",))
    assert load(place).nodes == ("head.farmlet.test",) and load(place).token == Span(0, 30)
    assert place.state.stat().st_mode & 0o777 == 0o600
    assert "r1" not in repr(KNOWN)
    place.state.write_text("{}")
    with pytest.raises(FarmletError, match="cannot be read"):
        load(place)


def test_where_programs_look_for_a_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(discovery.bearer()).startswith("/tmp/bt_u")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    assert str(discovery.bearer()).startswith("/run/user/1/bt_u")
    monkeypatch.setenv("BEARER_TOKEN_FILE", "/x/token")
    assert str(discovery.bearer()) == "/x/token"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.e30.c", "a.W10.c", "é.é.é"])
def test_other_tokens_are_not_ours(token: str) -> None:
    assert not discovery.is_ours(token, KNOWN)


def wrap(reason: Exception) -> Unreachable:
    error = Unreachable(URL, "no answer")
    error.__cause__ = urllib.error.URLError(reason)  # type: ignore[arg-type]
    return error


def certificate_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "verify failed")
    error.verify_code, error.verify_message = code, "as OpenSSL says"
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (wrap(certificate_error(20)), "--ca FILE"),
        (wrap(certificate_error(9)), "clock"),
        (wrap(certificate_error(10)), "clock"),
        (wrap(ConnectionRefusedError(111, "Connection refused")), "Connection refused"),
        (OAuthError(URL, "access_denied", "", 400), "refused in the browser"),
        (OAuthError(URL, "expired_token", "", 400), "the code has ended"),
        (OAuthError(URL, "invalid_grant", "", 400), "log in anew: farmlet login lab"),
        (OAuthError(URL, "invalid_token", "Refresh token for value x was not found", 401), "log in anew: farmlet login lab"),
        (OAuthError(f"{URL}/token", "invalid_grant", AUP, 400), f"Sign it: {URL}/iam/aup/sign"),
        (OAuthError(f"{URL}/token", "unauthorized", "User ada is not active.", 401), f"Ask the administrators of {URL}"),
        (OAuthError(URL, "whatever", "words", 400), "whatever: words"),
        (InputError("a", "b"), "a: b"),
    ],
)
def test_faults_in_words(error: FarmletError, said: str) -> None:
    assert said in str(words.explain(error, "farmlet login lab"))


@pytest.mark.parametrize(
    ("code", "text", "ended"),
    [("invalid_grant", AUP, False), ("unauthorized", "User ada is not active.", False), ("invalid_grant", "", True),
     ("invalid_token", "Invalid refresh token: x", True)],
)  # fmt: skip
def test_a_log_in_that_waits_for_a_signature_is_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, code: str, text: str, ended: bool
) -> None:
    """An INDIGO IAM's words: of a dead token `invalid_token`, of an unsigned policy `invalid_grant`."""

    def refuse(*given: object, **wish: str) -> None:
        raise OAuthError(URL, code, text, 400)

    save(place, KNOWN)
    monkeypatch.setattr("farmlet.runtime.oauth.refresh", refuse)
    with pytest.raises(OAuthError):
        renew.renew(place, KNOWN, ("token",))
    assert (load(place).refresh_token == "") is ended


def test_what_serves_on_while_the_issuer_is_away_is_told() -> None:
    now = time.time()
    known = replace(KNOWN, certificate=Span(now, now + 7200), token=Span(now, now + 600))
    away = wrap(ConnectionRefusedError(111, "Connection refused"))
    told = words.explain(away, "", known).hint or ""
    ends = [time.strftime("%a %H:%M", time.localtime(now + seconds)) for seconds in (7200, 600)]
    assert f"your certificate until {ends[0]} and your token until {ends[1]}" in told and "network" in told
    assert "serves on" not in (
        words.explain(away, "", replace(known, certificate=Span(), token=Span(now - 9, now - 1))).hint or ""
    )
    assert "serves on" not in (words.explain(OAuthError(URL, "access_denied", "", 400), "", known).hint or "")


def test_addresses() -> None:
    assert normalise("service.farmlet.test") == normalise(f"{URL}/x") == URL
    for text in ("", "ftp://a", "https://", "https://a:b@c", "https://a/?x"):
        with pytest.raises(InputError):
            normalise(text)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_shown_code_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Started("ABCD-EFGH", f"{URL}/device", f"{URL}/device?user_code=ABCD-EFGH", "secret", 1, 600)
    plain, terminal = io.StringIO(), Terminal()
    clock = iter((0.0, 0.0, 0.0, 0.0, 1.0))
    for stream in (plain, terminal):
        monkeypatch.setattr(sys, "stderr", stream)
        screen.show(started, qr=True)
    assert "ABCD-EFGH" in plain.getvalue() and "secret" not in plain.getvalue() and "█" not in plain.getvalue()
    monkeypatch.setattr(screen.time, "sleep", lambda seconds: None)
    screen.countdown(started, lambda: next(clock))(0.5)
    assert "waiting, 10:00 left" in terminal.getvalue()


def test_the_qr_code(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("segno")
    monkeypatch.setattr(sys, "stderr", Terminal())
    screen.draw(URL)
    assert len(sys.stderr.getvalue().splitlines()) >= 10  # type: ignore[attr-defined]


@pytest.mark.parametrize(("answer", "yes"), [("y\n", True), ("Yes\n", True), ("\n", False), ("n\n", False), ("", False)])
def test_the_line_is_added_only_for_a_yes_on_a_terminal(
    home: Path, monkeypatch: pytest.MonkeyPatch, answer: str, yes: bool
) -> None:
    place = Place(root() / "lab")
    place.folder.mkdir(parents=True)
    for stdin in (io.StringIO(answer), Terminal(answer)):
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "stderr", Terminal())
        login.include(write=False)
        assert snippet.is_included() is (yes and stdin.isatty())
        assert snippet.include() in sys.stderr.getvalue()  # type: ignore[attr-defined]
