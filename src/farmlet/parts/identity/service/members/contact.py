"""What is said of a member besides their names: one rule for every way in, be it a command or SCIM."""

from __future__ import annotations

from pydantic.networks import validate_email
from pydantic_core import PydanticCustomError

from farmlet.errors import InputError

LONGEST = 200  # characters of a full name
LONGEST_EMAIL = 254  # of an address (RFC 5321 §4.5.3.1, erratum 1690)


def check_display(text: str) -> str:
    """A full name as it is kept. Raises InputError."""
    if len(text) > LONGEST:
        raise InputError("title", f"has more than {LONGEST} characters")
    return text


def read_email(text: str) -> str:
    """An address as it is kept, "" for none. Raises InputError.

    By the rule of SCIM's models: what they would not take again must not get into the database.
    """
    if not text.strip():
        return ""
    try:
        address = validate_email(text)[1]
    except PydanticCustomError as error:
        why = error.message().removeprefix("value is not a valid email address: ")
        raise InputError(f"e-mail {text!r:.80}", why, "an address like grace@example.org") from error
    if len(address) > LONGEST_EMAIL:
        raise InputError("e-mail", f"has more than {LONGEST_EMAIL} characters")
    return address
