"""Plug-ins of ours for programs in C and C++, compiled on the node with the headers of the program that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from farmlet.parts.resources import Command, Directory, File, Packages, Resource

FOLDER = "/usr/lib/farmlet"
# a warning ends the compilation, and with it `up`: better than a plug-in that half fits a newer header
FLAGS = "-shared -fPIC -O2 -Wall -Wextra -Werror -D_FORTIFY_SOURCE=2 -fstack-protector-strong -Wl,-z,relro,-z,now"


@dataclass(frozen=True)
class Plugin:
    """A shared library out of one source file, `templates/<source>` of `package`.

    `compiler`: the command with the language's own flags; `libraries`: what follows the source on its command line;
    `packages`: Debian's, with the compiler and the headers; `headers`: files beside the source that it includes.
    """

    what: str
    package: str
    source: str
    compiler: str
    packages: tuple[str, ...]
    libraries: str = ""
    headers: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it lies on a node."""
        return f"{FOLDER}/{self.source.split('.')[0]}.so"

    @property
    def install(self) -> Resource:
        """What compiling it wants."""
        return Packages(self.packages)

    @property
    def compiled(self) -> Sequence[Resource]:
        """The source, what it includes, and the library made of them, unless there is one of the same files and the same versions
        of `packages`. The source begins with how it is compiled, so that another way makes it new.

        By content: in an image of a node times are cut to whole seconds, so that nothing is newer than what it was made of.
        """
        source, path, built = f"{FOLDER}/{self.source}", self.path, f"{self.path}.built"
        compiling = f"{self.compiler} {FLAGS} -o {path}.new {source} {self.libraries}".strip()
        sources = " ".join([source, *(f"{FOLDER}/{name}" for name in self.headers)])
        made_of = f"{{ dpkg-query -W {' '.join(self.packages)}; sha256sum {sources}; }}"
        templates = files(self.package) / "templates"
        return (
            Directory(FOLDER),
            File(source, f"// {compiling}\n{(templates / self.source).read_text()}"),
            *(File(f"{FOLDER}/{name}", (templates / name).read_text()) for name in self.headers),
            # a program that has the old one open keeps it; cut off before the last step, it is compiled once more
            Command(
                self.what,
                f"{compiling} && mv {path}.new {path} && {made_of} > {built}",
                unless=f"test -e {path} && {made_of} | cmp -s - {built}",
            ),
        )
