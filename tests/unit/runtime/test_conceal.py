"""What of an issuer's words comes to logs and screens."""

from __future__ import annotations

from farmlet.runtime.issuer.conceal import HIDDEN, LONGEST, conceal


def test_words_come_on_one_line_without_what_a_terminal_obeys() -> None:
    assert conceal("User ada\nis not\x1b[31m active.\t\x07") == "User ada is not [31m active."
    assert len(conceal("no " * 1000)) <= LONGEST


def test_tokens_and_named_secrets_are_hidden() -> None:
    token = "eyJhbGciOiJub25lIn0.eyJqdGkiOiI0YjE3In0."
    assert conceal(f"Refresh token for value {token} was not found") == f"Refresh token for value {HIDDEN} was not found"
    assert conceal("code short is wrong", ["short", ""]) == f"code {HIDDEN} is wrong"
