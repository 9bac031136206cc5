"""`software: {cvmfs: …}`: what may be said, and what is said of what may not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts import part
from farmlet.parts.repositories import list_mounted
from farmlet.parts.software.cvmfs.section import Cvmfs

KEY = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
OWN = {"servers": ["http://s1.example.org/cvmfs/@fqrn@"], "keys": KEY}
GOOD: dict[str, Any] = {"repositories": ["sft.cern.ch"], "proxies": ["http://squid.example.org:3128"]}
FILE = """
farmlet: 1
facility: {{name: af, title: Example, domain: af.test}}
nodes:
  head: {{connect: {connect}, runs: [access, batch, {software}storage]}}
  service: {{connect: {connect}, runs: [identity, accounts, tokens, software.build]}}
groups: {{lab: {{login: true}}}}
software: {{cvmfs: {cvmfs}}}
"""
LINE = '{repositories: [sft.cern.ch], proxies: ["http://squid.example.org:3128", DIRECT]}'


def load(cvmfs: str = LINE, connect: str = "fake", software: str = "software, ") -> Facility:
    text = FILE.format(connect=connect, cvmfs=cvmfs, software=software)
    return loads(text.replace(", software.build", "" if software else ", software.build"), "facility.yaml", part.find())


def test_one_line_is_enough() -> None:
    facility = load()
    assert list_mounted(facility, facility.nodes["head"]) == ["sft.cern.ch"]
    assert list_mounted(facility, facility.nodes["service"]) == []
    assert facility.parts["software"].cvmfs.quota == 4 << 30  # type: ignore[attr-defined]


def test_a_sandbox_takes_the_line_and_says_that_it_has_none() -> None:
    facility = load(connect="container")
    assert list_mounted(facility, facility.nodes["head"]) == []
    (note,) = [text for text in part.find_notes(facility, part.find()) if "CVMFS" in text]
    assert "no CVMFS on head: its client is for hosts" in note
    assert not [text for text in part.find_notes(load(), part.find()) if "CVMFS" in text]


@pytest.mark.parametrize(
    ("cvmfs", "what", "hint"),
    [
        ("[sft.cern.ch]", "is a mapping", "proxies: ["),
        ("{repositories: [sft.cern.ch]}", "proxies: is missing", "name your site's"),
        ("{repositories: [sft], proxies: [DIRECT]}", "'sft' is no repository's name", "its full name"),
        ("{repositories: [sft.cern.ch], proxies: [squid]}", "'squid' is no proxy", "like http://"),
        ("{repositories: [sft.cern.ch], proxies: [DIRECT], quota: 512M}", "less than 1G", "4G"),
        ("{repositories: [af.test], proxies: [DIRECT]}", "publishes itself", "leave it out"),
        ("{repositories: [sft.cern.ch], proxies: [DIRECT], proxy: x}", "proxy", ""),
    ],
)
def test_errors_say_the_line_and_what_to_do(cvmfs: str, what: str, hint: str) -> None:
    with pytest.raises(Errors) as caught:
        load(cvmfs)
    (error,) = caught.value.errors
    assert error.where.startswith("facility.yaml:8")
    assert what in error.what and hint in (error.hint or "")


def test_it_is_nothing_without_a_node_that_has_a_client() -> None:
    with pytest.raises(Errors, match="no node has a client"):
        load(software="")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"repositories": []}, "names no repository"),
        ({"repositories": ["a.example.org", "a.example.org"]}, "twice"),
        ({"repositories": ["a-b.example.org", "a.b.example.org"]}, "twice"),
        ({"repositories": ["a.example.org, b.example.org"]}, "no repository"),
        ({"repositories": ["../x.y"]}, "no repository"),
        ({"repositories": ["a.example.org\n"]}, "no repository"),
        ({"proxies": []}, "is missing"),
        ({"proxies": ["DIRECT", "http://a:1"]}, "never asked"),
        ({"proxies": ["http://a:1|DIRECT"]}, "no proxy"),
        ({"proxies": ["http://a:1;DIRECT"]}, "no proxy"),
        ({"proxies": ["http://$(id):1"]}, "no proxy"),
        ({"proxies": ["http://a"]}, "no proxy"),
        ({"proxies": ["http://a:99999"]}, "no proxy"),
        ({"domains": {"example.org": OWN}}, "no repository is of the domain"),
        ({"domains": {"cern.ch": OWN | {"servers": []}}}, "names no server"),
        ({"domains": {"cern.ch": OWN | {"servers": ["http://a/cvmfs/x"]}}}, "one repository's"),
        ({"domains": {"cern.ch": OWN | {"servers": ['http://a/@fqrn@"; id']}}}, "no server"),
        ({"domains": {"cern.ch": OWN | {"keys": KEY.replace("PUBLIC", "RSA PRIVATE")}}}, "text of public keys"),
        ({"domains": {"cern.ch": {"servers": OWN["servers"]}}}, "keys"),
        ({"files": {"lhcb.cern.ch": "x"}}, "none of the repositories"),
        ({"files": {"sft.cern.ch": "../x"}}, "no path"),
        ({"files": {"sft.cern.ch": "/etc/passwd"}}, "no path"),
        ({"source": {"url": "https://example.org/apt", "suite": "trixie", "key": "x"}}, "text of a key"),
        ({"source": {"url": "ftp://x", "suite": "trixie", "key": "x"}}, "not an http"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    Cvmfs.model_validate(GOOD)
    with pytest.raises(ValidationError, match=words):
        Cvmfs.model_validate(GOOD | change)
