"""What of conda's environment.yml pip can install: run as a program, by a Python that has PyYAML and packaging.

environment.py PYTHON < environment.yml, PYTHON being the version of the image's. Prints JSON: `packages`, in pip's format,
`[[LINE, REQUIREMENT], …]`, and `faults`, `[[LINE, WHAT, HINT], …]`. Source: conda's "Managing environments", "MatchSpec".
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import yaml  # type: ignore[import-untyped]
from packaging.specifiers import InvalidSpecifier, SpecifierSet

LARGEST = 256 << 10  # bytes of the file
IDLE = ("name", "channels", "prefix")  # where from, and what it is called: the facility and the folder say that
# names that differ; others are the same, or lead to a package that pip does not find
NAMES = {"matplotlib-base": "matplotlib", "dask-core": "dask", "pytorch": "torch", "pytables": "tables", "py-xgboost": "xgboost"}
# of no index of Python's, or something else there
FOREIGN = re.compile(
    r"root|root_base|root-.*|xrootd|geant4|pythia8|fastjet|boost.*|gcc.*|gxx.*|clang.*|compilers|c-compiler|cxx-compiler|make|"
    r"gfortran.*|fortran-compiler|r-.*|lib.*|_.*|openssl|zlib|bzip2|xz|hdf5|nodejs|openjdk|git|curl|wget|graphviz|texlive.*"
)
SPEC = re.compile(
    r"(?:[A-Za-z0-9._/-]+::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)\s*"
    r"(?:(?P<few>=)\s*(?P<version>[A-Za-z0-9.*+!]+)(?P<build>=\S*)?|(?P<range>(?:==|[<>~!]=?)[^=\s].*)|\s(?P<exact>[A-Za-z0-9.*+!]+))?"
)
HINT = "like `numpy`, `numpy=1.26` or `numpy>=1.26,<2`"
NO_PYTHON = "Podman, or `apptainer build`, makes images with it; or ask your admins"

Fault = tuple[int, str, str]
Package = tuple[int, str]


def translate(text: str) -> tuple[str, str]:
    """Name and version (as pip has it, perhaps "") of a line of conda's. Raises ValueError: what, and a hint."""
    plain = " ".join(text.split())
    found = SPEC.fullmatch(plain)
    if not found or len(plain) > 300:
        raise ValueError(f"`{plain[:60]}` is no package with a version", HINT)
    name, few, exact = found["name"].lower(), found["version"], found["exact"]
    if found["build"]:
        raise ValueError(f"`{plain[:60]}` names a build of conda's", "`conda env export --from-history` leaves builds out")
    if FOREIGN.fullmatch(name):
        raise ValueError(f"`{name[:60]}` is no Python package", NO_PYTHON)
    version = (found["range"] or "").replace(" ", "")
    if few:
        version = f"=={few.removesuffix('*').removesuffix('.')}.*" if few != "*" else ""
    elif exact and exact != "*":
        version = f"=={exact}"
    try:
        SpecifierSet(version)
    except InvalidSpecifier:
        raise ValueError(f"`{plain[:60]}` has a version that pip does not know", HINT) from None
    return NAMES.get(name, name), version


def read(text: bytes, python: str) -> tuple[list[Package], list[Fault]]:
    """The packages, for an image with that Python, and all that is wrong."""
    if len(text) > LARGEST:
        return [], [(1, f"has more than {LARGEST >> 10} KiB", "one package a line")]
    try:
        # nodes only: no object is made of what it says, and what an alias repeats is not
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it has odd characters"
        return [], [(mark.line + 1 if mark else 1, f"is no YAML: {what}", "")]
    except (RecursionError, ValueError) as error:
        return [], [(1, f"is no YAML: {str(error)[:60]}", "")]
    packages: list[Package] = []
    faults: list[Fault] = []
    for one in _list(root):
        (packages if len(one) == 2 else faults).append(one)  # type: ignore[arg-type]
    return _check_python(packages, faults, python)


def _list(root: yaml.Node | None) -> Iterator[Package | Fault]:
    if not isinstance(root, yaml.MappingNode):
        yield 1, "has no `dependencies`", "dependencies: [numpy, mplhep]"
        return
    keys = [key.value for key, _ in root.value]
    if "dependencies" not in keys:
        yield 1, "has no `dependencies`", "dependencies: [numpy, mplhep]"
    for key, value in root.value:
        if key.value == "dependencies":
            yield from _read_list(value, "dependencies", inside=False)
        elif key.value not in IDLE:
            yield key.start_mark.line + 1, f"`{str(key.value)[:60]}` has no meaning here", "put it into test.sh, or into your job"


def _read_list(node: yaml.Node, what: str, inside: bool) -> Iterator[Package | Fault]:
    """`inside`: the packages are pip's."""
    if not isinstance(node, yaml.SequenceNode):
        yield node.start_mark.line + 1, f"`{what}` is no list", ""
        return
    for item in node.value:
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            if inside:
                yield line, item.value
                continue
            try:
                name, version = translate(item.value)
                if name != "pip":  # it is there
                    yield line, name + version
            except ValueError as error:
                yield line, *error.args
        elif not inside and isinstance(item, yaml.MappingNode) and [key.value for key, _ in item.value] == ["pip"]:
            yield from _read_list(item.value[0][1], "pip", inside=True)
        else:
            yield line, f"is no package of `{what}`", HINT


def _check_python(packages: list[Package], faults: list[Fault], python: str) -> tuple[list[Package], list[Fault]]:
    """Python is the image's: it may be asked for as it is."""
    rest = []
    for line, text in packages:
        found = re.fullmatch(r"python([<>=~!].*)?", text)
        try:
            if not found:
                rest.append((line, text))
            elif python and not SpecifierSet(found[1] or "").contains(python):
                what = f"`{text[:60]}` is not the Python of the image, {python}"
                faults.append((line, what, "leave python out, or take another --from"))
        except InvalidSpecifier:
            faults.append((line, f"`{text[:60]}` is no version of Python", HINT))
    return rest, sorted(faults)


if __name__ == "__main__":
    found, wrong = read(sys.stdin.buffer.read(LARGEST + 1), sys.argv[1])
    print(json.dumps({"packages": found, "faults": wrong}))
