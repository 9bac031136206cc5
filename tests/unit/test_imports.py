"""Imports run one way and in no circle (docs: the house), and folders stay small.

Read from the syntax trees, so imports inside functions count as well. Annotations may name what a module must not import:
imports under `if TYPE_CHECKING:` are not there at run time. They do count for circles.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import farmlet

ROOT = Path(farmlet.__file__).parent

# package → what of farmlet it may import besides itself
ALLOWED = {
    "cli": {"demo", "standins", "engine", "parts", "facility", "runtime", "web", "errors"},
    "demo": {"engine", "parts", "facility", "runtime", "web", "errors"},
    "standins": {"engine", "parts", "facility", "runtime", "web", "errors"},
    "engine": {"parts", "facility", "runtime", "web", "errors"},
    "parts": {"facility", "runtime", "web", "errors"},
    "facility": {"errors"},
    "runtime": {"errors"},
    "web": {"errors"},
    "errors": set(),
    "": set(),  # farmlet/__init__.py
}
MOST = 15  # modules of a folder, besides its __init__.py
CROWDED = {
    "farmlet.cli": "one file a verb",
}
SHARED = {
    "gate",
    "part",
    "resources",
    "render",
    "units",
    "tasks",
    "compiled",
    "backup",
    "admin",
    "members",
    "images",
    "own",
    "repositories",
    "sharing",
    "vendor",
}  # of farmlet.parts: what every part may use

# programs that nodes run, and what they call: patterns of modules → what they must never reach, however indirectly
CLASH = ("pydantic", "django", "oauth2_provider", "farmlet.engine", "farmlet.cli")
ON_NODES = {
    "farmlet": CLASH,
    "farmlet.errors": CLASH,
    "farmlet.runtime*": CLASH,
    "farmlet.web*": CLASH,
    "farmlet.parts": CLASH,
    "farmlet.parts.base.agent": CLASH,
    "farmlet.parts.base.control": CLASH,
    "farmlet.parts.base.authority": CLASH,
    "farmlet.parts.base.renewal": CLASH,
    "farmlet.parts.base.client": CLASH,
    "farmlet.parts.base.tasks": CLASH,
    "farmlet.parts.base.collector": CLASH,
    "farmlet.parts.*.checks": CLASH,
    "farmlet.parts.*.metrics": CLASH,
    "farmlet.parts.monitoring.pages*": CLASH,
    "farmlet.parts.monitoring.grafana.program": CLASH,
    "farmlet.parts.accounts.daemon": CLASH,
    "farmlet.parts.accounts.deprovision*": CLASH,
    "farmlet.parts.accounts.homes.homes": CLASH,
    "farmlet.parts.accounts.homes.keeping": CLASH,
    "farmlet.parts.accounts.sink*": CLASH,
    "farmlet.parts.accounts.slices": CLASH,
    "farmlet.parts.accounts.source*": CLASH,
    "farmlet.parts.batch.deprovisioning": CLASH,
    "farmlet.parts.*.look": CLASH,
    "farmlet.parts.tokens.credmon": CLASH,
    "farmlet.parts.tokens.storer": CLASH,
    "farmlet.parts.tokens.deprovisioning": CLASH,
    "farmlet.parts.overlay.controller": CLASH,
    "farmlet.parts.overlay.executor": CLASH,
    "farmlet.parts.overlay.render": CLASH,
    "farmlet.parts.overlay.demand": CLASH,
    "farmlet.parts.gate": CLASH,
    "farmlet.parts.sitetests.command": CLASH,
    "farmlet.parts.sitetests.metrics": CLASH,
    "farmlet.parts.sitetests.pages*": CLASH,
    "farmlet.parts.sitetests.shipped*": CLASH,
    "farmlet.parts.software.builder": CLASH,
    "farmlet.parts.images": CLASH,
    "farmlet.parts.notebooks.own": CLASH,
    "farmlet.parts.software.members.own": CLASH,
    "farmlet.parts.software.cvmfs.look": CLASH,
    "farmlet.parts.identity.service*": ("farmlet.engine", "farmlet.cli"),
}
# what must import with the standard library alone: pattern → third-party packages it may use all the same
PLAIN = {
    "farmlet": (),
    "farmlet.errors": (),
    "farmlet.parts": (),
    "farmlet.runtime": (),
    "farmlet.runtime.certificates": ("cryptography",),
    "farmlet.runtime.tokens": ("joserfc",),
    "farmlet.runtime.*": (),
    "farmlet.parts.gate": (),
    "farmlet.parts.monitoring.grafana.program": (),
    "farmlet.parts.sitetests.jobs.outpost": (),
    "farmlet.parts.sitetests.jobs.runner": (),
    "farmlet.parts.sitetests.shipped*": (),
    "farmlet.parts.sitetests.verbs": (),
    "farmlet.parts.software.builder": (),
    "farmlet.parts.images": (),
    "farmlet.parts.notebooks.own": (),
    "farmlet.parts.software.members.own": (),
    "farmlet.parts.software.members.environment": ("yaml", "packaging"),
    "farmlet.parts.software.cvmfs.look": (),
    "farmlet.parts.software.cvmfs.checks": (),
    "farmlet.parts.software.cvmfs.metrics": (),
    # a member's own machine
    "farmlet.cli.main": (),
    "farmlet.cli.options": (),
    "farmlet.cli.log*": (),
    "farmlet.parts.access.login*": (),
    # run by HTCondor's own programs
    "farmlet.parts.tokens.credmon": (),
    "farmlet.parts.tokens.storer": (),
}


@dataclass(frozen=True)
class Import:
    """`module` (dotted; as deep as the tree knows it) is imported by `by`, at `line`."""

    by: str
    module: str
    line: int


def find_modules(root: Path) -> dict[str, Path]:
    """Every module of the package at `root`, by dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        words = [root.name, *path.relative_to(root).with_suffix("").parts]
        found[".".join(words[:-1] if words[-1] == "__init__" else words)] = path
    return found


def _is_typing(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def _walk(node: ast.AST, typing: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import below `node` that happens at run time, with `typing` also those for annotations."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif _is_typing(child) and not typing:
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from _walk(ast.Module([other], []), typing)
        else:
            yield from _walk(child, typing)


def find_imports(name: str, modules: Mapping[str, Path], typing: bool = False) -> list[Import]:
    """What module `name` imports; `from package import thing` is the thing where that is a module of ours."""
    path = modules[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = []
    for node in _walk(ast.parse(path.read_text()), typing):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base for alias in node.names]
        found += [Import(name, target, node.lineno) for target in targets]
    return found


def _layer(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def check_direction(modules: Mapping[str, Path]) -> list[str]:
    """Imports against the direction of the house, and of one part by another."""
    faults = []
    for name in modules:
        for found in find_imports(name, modules):
            if found.module.split(".")[0] != "farmlet":
                continue
            mine, other = _layer(name), _layer(found.module)
            if mine not in ALLOWED or (other not in ALLOWED and found.module not in modules):
                faults.append(f"{name}:{found.line}: {found.module} is in no known layer")
            elif other and mine != other and other not in ALLOWED[mine]:
                faults.append(f"{name}:{found.line}: {mine or 'farmlet'} must not import {found.module}")
            elif mine == other == "parts" and _part(name) != _part(found.module) and _part(found.module) not in SHARED | {""}:
                faults.append(f"{name}:{found.line}: parts never import each other ({found.module})")
    return faults


def _part(module: str) -> str:
    return [*module.split("."), "", "", ""][2]


def reach(name: str, modules: Mapping[str, Path]) -> dict[str, str]:
    """Everything that importing `name` may bring in: module → who imports it. Packages bring their `__init__`."""
    found = {name: name}
    waiting = [name]
    while waiting:
        current = waiting.pop()
        above = current.rpartition(".")[0]
        targets = [found.module for found in find_imports(current, modules)] + ([above] if above in modules else [])
        for target in targets:
            if target not in found:
                found[target] = current
                if target in modules:
                    waiting.append(target)
    return found


def check_nodes(modules: Mapping[str, Path]) -> list[str]:
    """Programs of nodes that reach what they must not."""
    faults = []
    for pattern, clash in ON_NODES.items():
        for name in (name for name in modules if fnmatch(name, pattern)):
            for target, by in reach(name, modules).items():
                if any(target == one or target.startswith(f"{one}.") for one in clash):
                    faults.append(f"{name} runs on nodes and reaches {target} (by {by})")
    return faults


def check_plain(modules: Mapping[str, Path]) -> list[str]:
    """What must do with the standard library, and does not."""
    faults = []
    for name in modules:
        more = next((more for pattern, more in PLAIN.items() if fnmatch(name, pattern)), None)
        for found in find_imports(name, modules) if more is not None else ():
            top = found.module.split(".")[0]
            if top not in {"farmlet", "__future__", *sys.stdlib_module_names, *(more or ())}:
                faults.append(f"{name}:{found.line}: imports {found.module}")
    return faults


def check_circles(modules: Mapping[str, Path]) -> list[str]:
    """Modules that import each other, were it for annotations only."""
    found = {name: {one.module for one in find_imports(name, modules, typing=True)} & modules.keys() for name in modules}
    try:
        TopologicalSorter(found).prepare()
    except CycleError as error:
        return [" ← ".join(error.args[1])]
    return []


def check_folders(modules: Mapping[str, Path]) -> list[str]:
    """Folders of too many modules, and exceptions that are none any more."""
    count = Counter(name.rpartition(".")[0] for name, path in modules.items() if path.name != "__init__.py")
    crowded = {name for name, number in count.items() if number > MOST}
    return [f"{name}: {count[name]} modules" for name in sorted(crowded ^ CROWDED.keys())]


@pytest.fixture(scope="module")
def modules() -> dict[str, Path]:
    found = find_modules(ROOT)
    assert {"farmlet", "farmlet.errors", "farmlet.engine.plan", "farmlet.parts.base.agent"} <= set(found)
    return found


def test_one_way(modules: dict[str, Path]) -> None:
    assert check_direction(modules) == []


def test_programs_of_nodes(modules: dict[str, Path]) -> None:
    assert check_nodes(modules) == []


def test_standard_library_only(modules: dict[str, Path]) -> None:
    assert check_plain(modules) == []


def test_no_circles(modules: dict[str, Path]) -> None:
    assert check_circles(modules) == []


def test_small_folders(modules: dict[str, Path]) -> None:
    assert check_folders(modules) == []


def plant(root: Path, files: Mapping[str, str]) -> dict[str, Path]:
    """A tiny package `farmlet` with these files."""
    base = root / "farmlet"
    for name in ("", "cli", "demo", "standins", "engine", "parts", "parts/a", "parts/b", "facility", "runtime", "web"):
        (base / name).mkdir(parents=True, exist_ok=True)
        (base / name / "__init__.py").write_text('"""A package."""\n')
    sound = {"errors.py": "", "parts/part.py": "", "parts/resources.py": "", "engine/plan.py": "", "facility/model.py": ""}
    for path, text in (sound | dict(files)).items():
        (base / path).parent.mkdir(parents=True, exist_ok=True)
        (base / path).write_text(text)
    return find_modules(base)


DIRECTION = {
    "cli/up.py": ("import farmlet.demo, farmlet.engine.plan", True),
    "engine/apply.py": ("from farmlet.parts.part import Part\nfrom farmlet.errors import FarmletError", True),
    "engine/worse.py": ("from farmlet.cli import up", False),
    "engine/lazy.py": ("def late() -> None:\n    from farmlet import standins", False),
    "demo/run.py": ("import farmlet.cli", False),
    "demo/site.py": ("import farmlet.standins", False),
    "facility/load.py": ("from ..runtime import files", False),
    "facility/sound.py": ("from ..errors import FarmletError", True),
    "runtime/files.py": ("import farmlet.parts.part", False),
    "runtime/sound.py": ("import json", True),
    "web/page.py": ("from farmlet import engine", False),
    "errors.py": ("import farmlet.facility.model", False),
    "parts/a/deploy.py": ("from farmlet.parts.resources import File\nfrom farmlet.parts.a import checks", True),
    "parts/a/checks.py": ("from ..b import deploy", False),
    "parts/a/far.py": ("from farmlet.parts import b", False),
    "parts/a/deep.py": ("def late() -> None:\n    import farmlet.parts.b.deploy", False),
    "parts/a/engine.py": ("try:\n    import farmlet.engine.plan\nexcept ImportError:\n    pass", False),
    "standins/site.py": ("from farmlet.parts.b import deploy\nfrom farmlet.engine.plan import Plan", True),
    "newcomer/one.py": ("import farmlet.errors", False),
}


@pytest.mark.parametrize("path", DIRECTION)
def test_the_checker_of_direction(path: str, tmp_path: Path) -> None:
    text, sound = DIRECTION[path]
    faults = check_direction(plant(tmp_path, {path: text}))
    assert (faults == []) is sound, faults
    hidden = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n" + "\n".join(f"    {line}" for line in text.splitlines())
    assert check_direction(plant(tmp_path, {path: hidden})) == [], "annotations may name anything"


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("import json", True),
        ("import pydantic", False),
        ("def late() -> None:\n    from pydantic import BaseModel", False),
        ("import django.db", False),
        ("import farmlet.facility.model", False),  # which imports pydantic: reached, not named
        ("from farmlet.engine import plan", False),
        ("import pydantics", True),
    ],
)
def test_the_checker_of_nodes(text: str, sound: bool, tmp_path: Path) -> None:
    files = {"facility/model.py": "import pydantic", "parts/base/__init__.py": "", "parts/base/agent.py": text}
    assert (check_nodes(plant(tmp_path, files)) == []) is sound


def test_a_package_brings_its_init(tmp_path: Path) -> None:
    files = {"parts/base/__init__.py": "import pydantic", "parts/base/agent.py": "import json"}
    assert any("agent" in fault and "pydantic" in fault for fault in check_nodes(plant(tmp_path, files)))


@pytest.mark.parametrize(
    ("path", "text", "sound"),
    [
        ("runtime/files.py", "import os, farmlet.errors", True),
        ("runtime/files.py", "import joserfc", False),
        ("runtime/tokens.py", "from joserfc import jwt", True),
        ("runtime/tokens.py", "import requests", False),
        ("errors.py", "import attrs", False),
        ("parts/__init__.py", "def late() -> None:\n    import jinja2", False),
        ("parts/a/deploy.py", "import jinja2", True),
    ],
)
def test_the_checker_of_plainness(path: str, text: str, sound: bool, tmp_path: Path) -> None:
    assert (check_plain(plant(tmp_path, {path: text})) == []) is sound


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ("import farmlet.engine.plan", True),
        ("from farmlet.engine import loop", False),
        ("def late() -> None:\n    from .loop import one", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from farmlet.engine.loop import one", False),
    ],
)
def test_the_checker_of_circles(text: str, sound: bool, tmp_path: Path) -> None:
    files = {"engine/loop.py": "from farmlet.engine import other", "engine/other.py": text}
    assert (check_circles(plant(tmp_path, files)) == []) is sound


@pytest.mark.parametrize(("number", "sound"), [(MOST, True), (MOST + 1, False)])
def test_the_checker_of_folders(number: int, sound: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_imports.CROWDED", {})
    planted = plant(tmp_path, {f"runtime/room{index}.py": "" for index in range(number)})
    assert (check_folders(planted) == []) is sound
