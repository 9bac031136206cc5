"""Parts' sections take nothing that would mean something else in the files of other programs that it is written into."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from farmlet.parts.accounts.config import Section as Accounts
from farmlet.parts.identity.config import Section as Identity
from farmlet.parts.software.config import Software

LDAP = {"people": "ou=people", "groups": "ou=groups", "bind": "cn=farmlet"}


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        (Accounts, {"homes": "/srv/../etc"}, "`.` or `..`"),
        (Accounts, {"scratch": "/scratch/."}, "`.` or `..`"),
        (Accounts, {"shell": "/.."}, "`.` or `..`"),
        (Accounts, {"homes": "/home\n/etc"}, "should match"),
        (Accounts, {"ldap": {"url": "ldaps://ldap.example.org:99999", **LDAP}}, "its port is not"),
        (Identity, {"issuer": "https://iam.example.org:0/"}, "its port is not"),
        (Identity, {"issuer": "https://iam.example.org:99999/"}, "its port is not"),
        *((Identity, {"issuer": f"https://iam.example.org/a{one}b"}, "URL of an issuer") for one in '"%${}`\n |<'),
        (Software, {"default": "../../etc"}, "should match"),
        (Software, {"default": "a b"}, "should match"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(section: type[BaseModel], values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        section.model_validate(values)


@pytest.mark.parametrize("issuer", ["https://iam.example.org/", "https://sso.example.org:8443/realms/x-y_z", "builtin"])
def test_issuers_as_they_are(issuer: str) -> None:
    assert Identity.model_validate({"issuer": issuer}).issuer == issuer


def test_places_as_they_are() -> None:
    section = Accounts.model_validate({"homes": "/srv/lab.home", "ldap": {"url": "ldap://ldap.example.org:1389", **LDAP}})
    assert section.homes == "/srv/lab.home" and section.ldap and section.ldap.port == 1389
