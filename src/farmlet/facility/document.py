"""YAML text as plain values that remember their lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from farmlet.errors import Errors, InputError

Keys: TypeAlias = tuple[str | int, ...]
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")}


@dataclass(frozen=True)
class Fault:
    """Something wrong at a key or item, on a 1-based line of the file."""

    keys: Keys
    line: int
    what: str
    hint: str = ""


@dataclass(frozen=True)
class Document:
    """`data`: dict, list and scalars. `lines`: path of keys and indices → 1-based line. `faults`: e.g. twin keys.

    `broken`: where `data` has None for what could not be read, so that nobody need complain of it again.
    """

    name: str
    data: Any
    lines: Mapping[Keys, int]
    faults: tuple[Fault, ...]
    broken: frozenset[Keys]

    def line(self, keys: Keys) -> int:
        """The line of a key or item, or of the nearest one above it that is in the file."""
        while keys and keys not in self.lines:
            keys = keys[:-1]
        return self.lines.get(keys, 1)


def read(text: str, name: str) -> Document:
    """Parse one YAML 1.2 document. Raises Errors when it is no YAML; lesser faults are kept in the document.

    The node graph is read rather than ruamel's constructed values: a constructor gives up at the first duplicate key.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except RecursionError:
        raise Errors([InputError(f"{name}:1", "is nested too deep for a facility file", "`farmlet init` shows one")]) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        hint = "indent with spaces, not tabs" if "\t" in text else ""
        raise Errors([InputError(f"{name}:{line}", f"not YAML: {error.problem or error.context}", hint)]) from error
    except YAMLError as error:
        raise Errors([InputError(f"{name}:1", f"not YAML: {' '.join(str(error).split())}")]) from error
    if root is None:
        raise Errors([InputError(f"{name}:1", "the file is empty", "`farmlet init` writes one to start from")])
    walker = _Walker(yaml)
    data = walker.value(root, ())
    return Document(name, data, walker.lines, tuple(walker.faults), frozenset(walker.broken))


class _Walker:
    """Goes through a node graph, collecting lines and faults."""

    def __init__(self, yaml: YAML) -> None:
        self.yaml = yaml
        self.lines: dict[Keys, int] = {}
        self.faults: list[Fault] = []
        self.broken: set[Keys] = set()
        self.seen: set[int] = set()

    def add(self, keys: Keys, node: Node, what: str, hint: str = "") -> None:
        self.faults.append(Fault(keys, node.start_mark.line + 1, what, hint))

    def give_up(self, keys: Keys, node: Node, what: str, hint: str = "") -> None:
        self.add(keys, node, what, hint)
        self.broken.add(keys)

    def value(self, node: Node, keys: Keys) -> Any:
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if node.tag not in PLAIN:
            return self.give_up(keys, node, f"{node.tag} is not allowed here", "write plain values, without `!` tags and `<<`")
        if isinstance(node, ScalarNode):
            return self.scalar(node, keys)
        # one node met twice is an alias; following them could take for ever
        if id(node) in self.seen:
            return self.give_up(keys, node, "an alias (`*`) of a mapping or list is not allowed", "write it out where it is used")
        self.seen.add(id(node))
        if isinstance(node, SequenceNode):
            return [self.value(item, (*keys, index)) for index, item in enumerate(node.value)]
        return self.mapping(node, keys) if isinstance(node, MappingNode) else None

    def scalar(self, node: ScalarNode, keys: Keys) -> Any:
        try:
            return self.yaml.constructor.construct_object(node)
        except (YAMLError, ValueError) as error:
            return self.give_up(keys, node, f"{node.value!r} cannot be read: {error}")

    def mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for name, item in node.value:
            key = self.scalar(name, keys) if isinstance(name, ScalarNode) and name.tag in PLAIN else None
            if not isinstance(key, str):
                self.add(keys, name, "a key must be text", "put it in quotes, if it is meant")
            elif key in data:
                first = self.lines[(*keys, key)]
                self.add(
                    (*keys, key), name, f"duplicate key {'.'.join(map(str, (*keys, key)))}", f"it is on line {first} already"
                )
            else:
                self.lines[(*keys, key)] = name.start_mark.line + 1
                data[key] = self.value(item, (*keys, key))
        return data
