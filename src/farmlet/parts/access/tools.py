"""What people expect where they log in: an editor, git, manuals, build tools, their own language. More by the facility file."""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.parts.part import Context
from farmlet.parts.resources import Command, Packages, Resource

EDIT = ("vim", "nano", "emacs-nox", "less", "man-db", "manpages", "file")
BUILD = ("git", "make", "cmake", "gcc", "g++", "python3-pip", "python3-venv")
FETCH = ("wget", "curl", "unzip", "zip", "xz-utils", "bzip2", "jq", "bc", "tmux", "rsync", "cron", "at")
# ssh brings the language of the person's own machine along, whichever it is
LANGUAGES = ("locales-all",)
LOCALE = "/etc/default/locale"


def install() -> Sequence[Resource]:
    return tuple(Packages(names) for names in (EDIT, BUILD, FETCH, LANGUAGES))


def configure(context: Context) -> Sequence[Resource]:
    """The file's own packages, and UTF-8 for who brings no language; a host's own choice of that stays."""
    more = context.section("access").packages
    return (
        *([Packages(tuple(sorted(set(more))))] if more else ()),
        Command("language", f"echo LANG=C.UTF-8 > {LOCALE}", unless=f"[ -s {LOCALE} ]"),
    )
