"""The kinds of values that stand in a facility file: how each is read, and what is said when it is wrong."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, BeforeValidator, Field, Strict, TypeAdapter, ValidationInfo
from pydantic_core import PydanticCustomError

from farmlet.facility import names, rights, sizes


def fault(what: str, hint: str = "") -> PydanticCustomError:
    """An error of a validator that keeps its hint until the loader tells it."""
    return PydanticCustomError("farmlet", "{what}", {"what": what, "hint": hint})


def checked(check: Callable[[str], str | None], hint: str = "") -> AfterValidator:
    """A `check_` function (what is wrong, or None) as a validator."""

    def validate(text: str) -> str:
        if wrong := check(text):
            raise fault(wrong, hint)
        return text

    return AfterValidator(validate)


def _read_size(value: object) -> object:
    """Bytes from `6G`. A bare number below 1 MiB is a forgotten unit."""
    if isinstance(value, str):
        try:
            value = sizes.parse(value)
        except ValueError as error:
            raise fault(str(error), "give a number and K, M, G or T, e.g. 6G") from error
    if type(value) is int and value < 1 << 20:
        raise fault(f"{value} bytes is less than 1M", "give a unit, e.g. 6G")
    return value


def check_subnet(text: str) -> str | None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        return str(error)
    return None


def _check_url(text: str) -> str | None:
    try:
        TypeAdapter(AnyHttpUrl).validate_python(text)
        sound = re.fullmatch("[!-~]+", text)  # it becomes a word in a file of apt's
    except ValueError:
        sound = None
    return None if sound else f"{text!r} is not an http or https URL"


def _check_key(text: str) -> str | None:
    words = text.split()
    return (
        None
        if len(words) >= 2 and len(text.splitlines()) == 1 and words[0].startswith(("ssh-", "ecdsa-", "sk-"))
        else "not an OpenSSH public key"
    )


def check_item(item: str, info: ValidationInfo) -> str:
    """A part or `part.role` of the catalogue; without a catalogue (a model built by hand) anything goes."""
    if not info.context:
        return item
    catalog = info.context["catalog"]
    part, dot, role = item.partition(".")
    if part not in catalog:
        raise fault(f"unknown part {part}", info.context["suggest"](part, catalog))
    roles = [spec.name for spec in catalog[part].roles]
    if dot and role not in roles:
        raise fault(f"part {part} has no role {role!r}", f"its roles: {', '.join(roles)}")
    return item


# `true` and `"2"` are no numbers here: Strict keeps pydantic from reading them as such
Count = Annotated[int, Strict(), Field(ge=1)]
Memory = Annotated[int, Strict(), BeforeValidator(_read_size)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Address = Annotated[str, checked(names.check_address, "write a host's name or its IP address")]
HostKey = Annotated[str, checked(_check_key, "a line like `ssh-ed25519 AAAA…`, from `ssh-keyscan HOST`")]
Login = Annotated[str, checked(lambda name: None if names.MEMBER.fullmatch(name) else f"{name!r} is no UNIX name")]
Pattern = Annotated[str, checked(rights.check_pattern, "paths are like /data or /users/{user}")]
Url = Annotated[str, checked(_check_url)]


PEM = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?)+")


def check_certificates(value: str) -> str:
    if value and not PEM.fullmatch(value):
        raise ValueError("is the text of certificates, from -----BEGIN CERTIFICATE----- on")
    return value


Certificates = Annotated[str, AfterValidator(check_certificates)]  # PEM, one after another; "": none
