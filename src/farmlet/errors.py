"""Errors that reach a person: where it happened, what is wrong, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

SSH_FAILED = 255  # the exit status of ssh itself


class FarmletError(Exception):
    """Something failed. `where` names the place (file:line, node, unit), `what` the fault, `hint` the next step."""

    exit_code = 1

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        super().__init__(where, what, hint)
        self.where, self.what, self.hint = where, what, hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text}\nhint: {self.hint}" if self.hint else text


class InputError(FarmletError):
    """What the person gave is wrong; nothing was touched."""

    exit_code = 2


class CommandError(FarmletError):
    """A command on a node ended with `code` and said `words` on standard error."""

    def __init__(self, where: str, command: str, code: int, words: Sequence[str]) -> None:
        hint = "is the node up? `farmlet status`" if code == SSH_FAILED else "farmlet logs; farmlet check"
        super().__init__(where, f"`{command}` failed with {code}: " + "\n  ".join(words), hint)
        self.code, self.words = code, tuple(words)


class Errors(FarmletError):
    """Several errors found in one pass; all of them are told."""

    def __init__(self, errors: Sequence[FarmletError]) -> None:
        self.errors = tuple(errors)
        first = self.errors[0]
        super().__init__(first.where, f"{len(self.errors)} errors, the first: {first.what}", first.hint)
        self.exit_code = max(error.exit_code for error in self.errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)
