"""Certificates in the facility file, as its sections for somebody else's servers have them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

PEM = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n?)+")


def check_certificates(value: str) -> str:
    if value and not PEM.fullmatch(value):
        raise ValueError("is the text of certificates, from -----BEGIN CERTIFICATE----- on")
    return value


Certificates = Annotated[str, AfterValidator(check_certificates)]  # PEM, one after another; "": none
