"""`farmlet-image FOLDER`: an image of a member's own, made by them on a log-in node: an offered one and their Python packages.

FOLDER/requirements.txt or environment.yml names them; FOLDER/test.sh, if there is one, says whether the image does what it
shall. The result is one file, FOLDER/NAME.sif, that jobs name as their `container_image`. Nothing here is root: Apptainer and
mksquashfs do it as the member. The packages are in /opt/own, and Python looks there first. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.places import IMAGES, SOFTWARE
from farmlet.parts import images
from farmlet.parts.software.members import named
from farmlet.parts.software.members.making import choose, making, put, run
from farmlet.parts.software.members.pulled import SCHEME, pull
from farmlet.parts.software.requirements import HINT, check, parse, show

CONFIG = Path("/etc/farmlet/packages")  # where Python packages come from here
YAML = "/opt/farmlet/analysis/bin/python"  # it has what reads conda's files
ENVIRONMENT = Path(__file__).with_name("environment.py")
FILES = ("requirements.txt", "environment.yml", "environment.yaml")
OWN = "/opt/own"
SCRIPT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
# as the SIF format counts: https://apptainer.org/docs/user/latest/cli/apptainer_sif_add.html
ARCHITECTURES = {"x86_64": "2", "aarch64": "4"}
# of a virtual environment, which are the image's own anyway
COMMON = re.compile(r"(python|pip|activate|Activate).*")
# it comes before the image's packages, which its own Python has by another way
FIRST = (
    "import sys; sys.path.insert(next((at for at, one in enumerate(sys.path) if one.endswith('dist-packages')), len(sys.path)), "
    "'@SITE@')\n"
)
# what the packages that were asked for bring is imported, but for what is no module of theirs
LOOK = """
import importlib, json, re, sys
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
names = {re.sub("[-_.]+", "-", name).lower(): name for name in sys.argv[1:]}
for module, found in sorted(packages_distributions().items()):
    wanted = [names[one] for name in found if (one := re.sub("[-_.]+", "-", name).lower()) in names]
    if wanted and module.isidentifier() and module not in ("test", "tests", "docs", "examples") and find_spec(module):
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:
            raise SystemExit(f"import {module}, of {wanted[0]}: {type(error).__name__}: {error}")
print("\\n" + json.dumps({name: version(name) for name in [*names.values(), "jupyterhub"]}))
"""


@dataclass(frozen=True)
class Wish:
    """What a member wants: `requirements` added to the image at `base`, as `name` in `folder`; `test`: a script there, if any."""

    folder: Path
    name: str
    base: Path
    requirements: tuple[str, ...]
    test: Path | None

    @property
    def target(self) -> Path:
        return self.folder / f"{self.name}.sif"

    @property
    def packages(self) -> list[str]:
        """The names of the packages alone."""
        return [re.match(r"[A-Za-z0-9._-]+", line)[0] for line in self.requirements]  # type: ignore[index]


def read(folder: str, name: str, base: str, published: Path = Path(IMAGES)) -> Wish:
    """Raises InputError, or Errors with each line of requirements.txt that is wrong."""
    place = Path(folder).resolve()
    files = [place / one for one in FILES if (place / one).is_file()]
    if len(files) != 1:
        what = f"there is {'more than one' if files else 'none'} of {', '.join(FILES)} in {place}"
        raise InputError("farmlet-image", what, "make a folder with a requirements.txt, one package a line")
    found = choose(name, place.name)
    offered = {row.name: row for row in images.load(published).values() if row.offered}
    if base not in offered:
        raise InputError(
            "farmlet-image", "there is no such image to begin with", f"--from one of: {', '.join(offered) or 'none'}"
        )
    asked = read_packages(files[0], offered[base].debian.get("python3", "").partition("-")[0])
    test = place / "test.sh"
    return Wish(place, found, (published / base).resolve(), tuple(asked), test if test.is_file() else None)


def read_packages(file: Path, python: str) -> list[str]:
    """What a file asks for, in pip's format, of an image whose Python has that version. Raises InputError or Errors."""
    with file.open("rb") as stream:
        text = stream.read((4 << 20) + 1)
    if file.suffix == ".txt":
        return parse(text.decode(errors="replace"), str(file))
    words = [YAML if Path(YAML).exists() else sys.executable, "-I", str(ENVIRONMENT), python]
    done = subprocess.run(words, input=text, capture_output=True, check=False, timeout=60)
    if done.returncode:
        raise FarmletError(
            str(file), f"cannot be read here: {show(done.stderr.decode(errors='replace')[-60:])}", "ask your admins"
        )
    said = json.loads(done.stdout)
    packages, faults = [], [(line, show(what, 120), hint) for line, what, hint in said["faults"]]
    for line, package in said["packages"]:
        try:
            packages.append(check(package))
        except ValueError as error:
            faults.append((line, str(error), HINT))
    if faults:
        raise Errors([InputError(f"{file}:{line}", what, hint) for line, what, hint in sorted(faults)])
    return parse("\n".join(packages), str(file))


class Maker:
    """Makes one image in a `work` folder of the member's."""

    def __init__(self, wish: Wish, work: Path, config: Path = CONFIG) -> None:
        self._wish, self._work, self._config = wish, work, config
        for name in ("opt/own", "tmp"):
            (work / name).mkdir(parents=True)

    def install(self) -> None:
        """The packages, into the folder that becomes /opt of the image."""
        (self._work / "tmp" / "requirements.txt").write_text("".join(f"{line}\n" for line in self._wish.requirements))
        self._inside("its Python", "python3", "-m", "venv", "--system-site-packages", OWN)
        pip = (f"{OWN}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
        self._inside("its packages", *pip, "--prefer-binary", "-r", "/tmp/requirements.txt")
        self._inside("its packages", f"{OWN}/bin/python", "-m", "pip", "uninstall", "--quiet", "--yes", "pip")

    def _inside(self, where: str, *words: str) -> str:
        """A command in the image that it begins with; only /opt and /tmp are writable there."""
        binds = [f"{self._work}/opt:/opt", f"{self._work}/tmp:/tmp"]
        given = {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONNOUSERSITE": "1"}
        for name, variable in (("pip.conf", "PIP_CONFIG_FILE"), ("bundle.pem", "PIP_CERT")):
            if (self._config / name).exists():
                binds.append(f"{self._config / name}:/run/{name}:ro")
                given[variable] = f"/run/{name}"
        options = [f"--bind={one}" for one in binds] + [f"--env={key}={value}" for key, value in given.items()]
        return run(["apptainer", "-s", "exec", "--containall", "--no-home", *options, str(self._wish.base), *words], where)

    def link(self) -> list[str]:
        """mksquashfs' pseudo files: what of the packages the image shows in its usual places."""
        (site,) = (self._work / "opt" / "own" / "lib").glob("python3.*/site-packages")
        version, inside = site.parent.name, f"{OWN}/{site.relative_to(self._work / 'opt' / 'own')}"
        (self._work / "opt" / "own" / "first.pth").write_text(FIRST.replace("@SITE@", inside))
        found = {f"usr/local/lib/{version}/dist-packages/own.pth": f"{OWN}/first.pth"}
        for path in sorted((self._work / "opt" / "own" / "bin").iterdir()):
            if SCRIPT.fullmatch(path.name) and not COMMON.fullmatch(path.name):
                place = f"usr/local/bin/{path.name}"
                if not os.path.lexists(self._wish.base / place):
                    found[place] = f"{OWN}/bin/{path.name}"
        return [f"{place} s 777 root root {target}" for place, target in found.items()]

    def pack(self) -> Path:
        """One file of the image's folders, but for /opt, and ours. What only root can read of it stays out."""
        pseudo, squashed, made = (self._work / name for name in ("pseudo", "root.squashfs", "image.sif"))
        pseudo.write_text("".join(f"{line}\n" for line in self.link()))
        parts = [str(path) for path in sorted(self._wish.base.iterdir()) if path.name != "opt"]
        options = ["-all-root", "-no-xattrs", "-no-progress", "-quiet", "-comp", "zstd", "-Xcompression-level", "6"]
        options += ["-mem", "256M", "-processors", "2", "-pf", str(pseudo)]
        run(["mksquashfs", *parts, str(self._work / "opt"), str(squashed), *options], "the image")
        run(["apptainer", "-s", "sif", "new", str(made)], "the image")
        kind = ["--datatype", "4", "--parttype", "2", "--partfs", "1", "--groupid", "1"]
        kind += ["--partarch", ARCHITECTURES[platform.machine()]]
        run(["apptainer", "-s", "sif", "add", *kind, str(made), str(squashed)], "the image")
        squashed.unlink()
        return made

    def test(self, made: Path) -> dict[str, str]:
        """The version of each package, which can be imported, and of JupyterHub; and the member's test ends well."""
        inside = ["apptainer", "-s", "exec", "--containall", "--no-home", f"--bind={SOFTWARE}"]
        inside += [f"--bind={self._wish.folder}:/mnt:ro"]
        said = run([*inside, str(made), "/usr/bin/python3", "-c", LOOK, *self._wish.packages], "its packages, imported", 300)
        if self._wish.test:
            run([*inside, "--pwd=/mnt", str(made), "bash", "-eu", "/mnt/test.sh"], "its test.sh")
        found: dict[str, str] = json.loads(said.splitlines()[-1])
        return found


def make(wish: Wish) -> dict[str, str]:
    """Make the image, test it and put it in place; versions by package."""
    with making(wish.folder, wish.name) as work:
        maker = Maker(wish, work)
        maker.install()
        made = maker.pack()
        found = maker.test(made)
        hub = found["jupyterhub"] if "jupyterhub" in wish.packages else found.pop("jupyterhub")
        put(made, wish.target, wish.base.name, hub)
        return found


def begin(options: argparse.Namespace) -> tuple[Path, dict[str, str]]:
    """The file that is asked for, and what was found in it."""
    if options.folder.startswith(SCHEME):
        return pull(options.folder, options.name, Path.cwd()), {}
    wish = read(options.folder, options.name, options.base)
    print(f"{wish.name}: {wish.base.name} and {len(wish.requirements)} packages; a minute or so", file=sys.stderr)
    return wish.target, make(wish)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="farmlet-image", description="An image of your own, for your jobs.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "folder", nargs="?", help="where its requirements.txt or environment.yml is, and the image will be; or docker://IMAGE"
    )
    what.add_argument("--use", metavar="NAME", help="of an image that is there: its line in a submit file (`include : … |`)")
    parser.add_argument("--name", default="", help="of the image (default: the folder's)")
    parser.add_argument(
        "--from", dest="base", default="analysis", metavar="IMAGE", help="what it begins with (default: analysis)"
    )
    what.add_argument("--publish", metavar="NAME", help="show an image of yours to all members, if your group has that right")
    what.add_argument("--withdraw", metavar="NAME", help="take it back")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    os.umask(0o022)
    begun = time.monotonic()
    try:
        if options.folder is None:
            public = options.publish is not None
            chosen = options.publish if public else options.withdraw
            print(f"container_image = {named.find(options.use) if chosen is None else named.publish(chosen, public)}")
            return 0
        target, found = begin(options)
    except KeyboardInterrupt:
        print("\nnothing was changed", file=sys.stderr)
        return 130
    except FarmletError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(FarmletError("farmlet-image", str(error), "quota; df -h ."), file=sys.stderr)
        return 1
    for name, version in found.items():
        print(f"{name} {version}")
    print(f"made in {time.monotonic() - begun:.0f} s, {target.stat().st_size / 1e6:.0f} MB. In a submit file:", file=sys.stderr)
    print(f"container_image = {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
