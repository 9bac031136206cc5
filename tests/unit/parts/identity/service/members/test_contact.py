"""One rule for names and addresses, whichever way they come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.errors import InputError
from farmlet.parts.identity.service.members.contact import check_display, read_email
from farmlet.parts.identity.service.scim import models

ADDRESSES = (
    st.emails() | st.text() | st.builds("{}@{}".format, st.text(), st.text() | st.sampled_from(["b", "lab.test", "x.local"]))
)


@pytest.mark.parametrize(
    "text", ["ada", "ada@b", "ada@farmlet.test", "ada@lab.local", "ada@localhost", "a\0@example.org", "ada@example.org\nx", "@"]
)
def test_what_scim_would_not_tell_is_not_let_in(text: str) -> None:
    with pytest.raises(InputError, match="e-mail"):
        read_email(text)


def test_an_address_is_kept_in_its_usual_form() -> None:
    assert read_email("  Ada Example <ada@EXAMPLE.org> ") == "ada@example.org" == read_email("ada@example.org")
    assert read_email("") == read_email(" ") == ""


def test_names_have_an_end() -> None:
    assert check_display("x" * 200)
    with pytest.raises(InputError):
        check_display("x" * 201)


@given(ADDRESSES)
def test_scim_takes_whatever_is_let_in(text: str) -> None:
    try:
        address = read_email(text)
    except InputError:
        return
    if address:
        assert models.FullUser.model_validate({"userName": "ada", "emails": [{"value": address}]}).emails[0].value == address
