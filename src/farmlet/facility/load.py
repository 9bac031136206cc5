"""From the facility file to a `Facility`. Every fault is told in one go, each with its line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from farmlet.errors import Errors, InputError
from farmlet.facility import names, spread
from farmlet.facility.catalog import Catalog
from farmlet.facility.document import read
from farmlet.facility.model import Facility, FacilityEntry, Group, GroupEntry, Issuer, Node, NodeEntry, Site, SiteEntry, Sources
from farmlet.facility.review import Model, Review, suggest
from farmlet.facility.routes import find_clashes, find_routes, fit

VERSION = 1
TOP = ("farmlet", "facility", "nodes", "groups", "sites", "sources")


def load(path: Path, catalog: Catalog) -> Facility:
    """Read the facility file at `path`; `catalog`: part name → part, in the order of their needs.

    Raises `Errors` of `InputError`s, ordered by line, each with where=`PATH:LINE`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Errors([InputError(str(path), "there is no such file", "`farmlet init` writes one")]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Errors([InputError(str(path), f"cannot be read: {error}")]) from error
    return loads(text, str(path), catalog, path.resolve().parent)


def loads(text: str, name: str, catalog: Catalog, folder: Path | None = None) -> Facility:
    """As `load`, from text; `name` stands for the file in errors."""
    review = Review(read(text, name))
    facility = _Loader(review, catalog).load(folder)
    review.close()
    assert facility is not None  # only faults leave it out, and close() tells them
    return facility


def default_text() -> str:
    """The facility file of the built-in sandbox."""
    return files("farmlet.facility").joinpath("sandbox.yaml").read_text(encoding="utf-8")


class _Loader:
    """One pass over a document; goes on after each fault for as long as what follows still makes sense."""

    def __init__(self, review: Review, catalog: Catalog) -> None:
        self.review, self.catalog = review, catalog
        data = review.document.data
        if not isinstance(data, dict) or not data:  # `{}` too
            review.add((), "a facility file is a mapping (`key: value`)", "`farmlet init` writes one")
        self.data: dict[str, Any] = data if isinstance(data, dict) else {}

    def load(self, folder: Path | None) -> Facility | None:
        if not self.data:
            return None
        self.check_top()
        head = self.check(FacilityEntry, "facility")
        nodes = self.check_each("nodes", NodeEntry)
        groups = self.check_each("groups", GroupEntry)
        sites = self.check_each("sites", SiteEntry)
        sources = self.check(Sources, "sources")
        self.check_names()
        self.check_groups()
        self.check_addresses(nodes)
        parts = self.check_parts()
        controller, roles = self.resolve(parts)
        if not head or not sources or not controller:
            return None
        facility = Facility(
            version=VERSION,
            name=head.name,
            title=head.title or head.name,
            domain=head.domain,
            nodes={name: self.resolve_node(name, entry, roles[name], head.domain, parts) for name, entry in nodes.items()},
            controller=controller,
            groups={
                path: Group(**dict(entry), path=path, line=self.review.document.line(("groups", path)))
                for path, entry in groups.items()
            },
            sites={name: Site(**dict(entry), name=name) for name, entry in sites.items()},
            parts=parts,
            elsewhere=next(iter(self.find_issuers(parts).values()), None),
            sources=sources,
            subnet=head.subnet,
            folder=folder,
        )
        self.ask_parts(facility)
        return facility

    def resolve_node(self, name: str, entry: NodeEntry, roles: tuple[str, ...], domain: str, parts: Mapping[str, Any]) -> Node:
        routes = tuple(fit(route, parts.get(role.partition(".")[0])) for role, route in find_routes(roles, self.catalog))
        return Node(**dict(entry), name=name, roles=roles, fqdn=f"{name}.{domain}", routes=routes)

    def ask_parts(self, facility: Facility) -> None:
        """What the parts say of the facility as a whole, unless it is not certain which node runs what."""
        if not any(fault.keys[:1] == ("nodes",) for fault in self.review.faults):
            for part in self.catalog.values():
                for keys, what, hint in part.validate(facility):
                    self.review.add(keys, f"{'.'.join(map(str, keys))}: {what}", hint)

    def section(self, name: str) -> Any:
        """A top-level section; one that is absent or left empty is an empty mapping."""
        value = self.data.get(name)
        return {} if value is None else value

    def entries(self, section: str) -> dict[str, Any]:
        """The entries of a section, of whatever kind they are; none if it is no mapping (which `check_each` tells)."""
        value = self.section(section)
        return value if isinstance(value, dict) else {}

    def check(self, model: type[Model], name: str) -> Model | None:
        machines = {*self.entries("nodes"), *self.entries("sites")}
        return self.review.check(model, (name,), self.section(name), {"machines": machines})

    def check_each(self, section: str, model: type[Model]) -> dict[str, Model]:
        """The sound entries of a section."""
        if not isinstance(self.section(section), dict):
            self.review.add((section,), f"{section}: should be a mapping (`name: …`)")
        context = {"catalog": self.catalog, "suggest": suggest}
        checked = {
            name: self.review.check(model, (section, name), {} if value is None else value, context)
            for name, value in self.entries(section).items()
        }
        return {name: entry for name, entry in checked.items() if entry is not None}

    def check_top(self) -> None:
        """Version and top-level keys."""
        version = self.data.get("farmlet")
        if "farmlet" not in self.data:
            self.review.add((), "farmlet: is missing", f"begin with `farmlet: {VERSION}`")
        elif type(version) is not int or version != VERSION:
            hint = f"this Farmlet reads version {VERSION}"
            self.review.add(("farmlet",), f"farmlet: version {version!r} of the file format is unknown", hint)
        if not self.section("nodes"):
            self.review.add(("nodes",), "nodes: is missing", "a facility has at least one node")
        for key in self.data:
            if key not in TOP and key not in self.catalog:
                self.review.add((key,), f"{key}: unknown key", suggest(key, (*TOP, *self.catalog)))

    def check_names(self) -> None:
        """Names of nodes and sites, which share a name space: both become host and container names."""
        for section in ("nodes", "sites"):
            for name in self.entries(section):
                if wrong := names.check_host(name):
                    self.review.add((section, name), f"{section}.{name}: {wrong}")
        for name in self.entries("sites"):
            if name in self.entries("nodes"):
                self.review.add(("sites", name), f"sites.{name}: a node has this name too", "rename one of them")

    def check_groups(self) -> None:
        """Group paths: well-formed, under a declared parent, injective as UNIX groups."""
        groups = self.entries("groups")
        for path in groups:
            above = names.ancestors(path)
            if wrong := names.check_group(path):
                self.review.add(("groups", path), f"groups.{path}: {wrong}")
            elif above and above[-1] not in groups:
                hint = suggest(above[-1], [other for other in groups if other != path])
                self.review.add(("groups", path), f"groups.{path}: its parent {above[-1]} is not declared", hint)
        for path, earlier in names.find_collisions(groups):
            unix, accounting = path.replace("/", "-"), names.accounting_group(path)
            what = f"groups.{path}: its UNIX group {unix} or its accounting group {accounting} is also that of {earlier}"
            self.review.add(("groups", path), what, "rename one of them")

    def check_addresses(self, nodes: Mapping[str, NodeEntry]) -> None:
        """No two nodes may be the same machine."""
        taken: dict[tuple[str, int], str] = {}
        for name, node in nodes.items():
            if node.connect == "ssh" and node.address:
                first = taken.setdefault((node.address.lower(), node.port), name)
                if first != name:
                    what = f"nodes.{name}.address: {node.address} is the address of node {first} too"
                    self.review.add(("nodes", name, "address"), what, "one machine is one node")

    def check_parts(self) -> dict[str, BaseModel]:
        """Each part's section, defaults where the file has none."""
        listed = {item.partition(".")[0] for items in self.runs().values() for item in items}
        sections: dict[str, BaseModel] = {}
        for name, part in self.catalog.items():
            if part.section is None:
                if name in self.data:
                    self.review.add((name,), f"{name}: this part has no settings")
            # a section that cannot do without settings is asked for only where its part runs
            elif name in self.data or name in listed or _has_defaults(part.section):
                section = self.check(part.section, name)
                if section is not None:
                    sections[name] = section
        return sections

    def runs(self) -> dict[str, list[str]]:
        """What each node lists, as far as it is known; `check_each` tells of the rest."""
        known = set(self.catalog) | {f"{part.name}.{role.name}" for part in self.catalog.values() for role in part.roles}
        runs: dict[str, list[str]] = {}
        for name, node in self.entries("nodes").items():
            items = node.get("runs") if isinstance(node, dict) else None
            runs[name] = [item for item in items if isinstance(item, str) and item in known] if isinstance(items, list) else []
        return runs

    def find_issuers(self, parts: Mapping[str, BaseModel]) -> dict[str, Issuer]:
        """Part → the issuer of somebody else that its section names in its stead."""
        found = {name: part.issuer(parts[name]) for name, part in self.catalog.items() if name in parts}
        return {name: issuer for name, issuer in found.items() if issuer}

    def resolve(self, parts: Mapping[str, BaseModel]) -> tuple[str, Mapping[str, tuple[str, ...]]]:
        """The control node and each node's roles; notes what is ambiguous and ports that are wanted twice."""
        runs = self.runs()
        replaced = self.find_issuers(parts)
        # one line changes the issuer: its part may go on standing in `runs`, and is nowhere
        runs = {name: [item for item in items if item.partition(".")[0] not in replaced] for name, items in runs.items()}
        controls = spread.find_controls(runs, self.catalog)
        if not controls:
            return "", {}
        # a node whose entry is faulty may be the one; do not guess
        if len(controls) > 1 and not any(fault.keys[:1] == ("nodes",) for fault in self.review.faults):
            what = f"nodes: any of {', '.join(controls)} could be the control node, which holds what mints and decides"
            first = next((part for part in spread.rank(self.catalog) if part not in replaced), "")
            self.review.add(("nodes",), what, f"list `{first}` in `runs` of exactly one node" if first else "")
        roles = spread.place(runs, self.catalog, controls[0])
        for name in runs:
            self.check_ports(name, roles[name])
        if len(controls) == 1:  # else most roles of the control node are twice, and why is told already
            self.check_once(roles)
            for node, what, hint in find_clashes(roles, self.catalog):
                self.review.add(("nodes", node, "runs"), f"nodes.{node}.runs: {what}", hint)
        return controls[0], roles

    def check_ports(self, node: str, roles: Iterable[str]) -> None:
        """Roles of different parts cannot listen on the same port of a node."""
        taken: dict[int, str] = {}
        for role in roles:
            part, _, short = role.partition(".")
            for port in next(spec.ports for spec in self.catalog[part].roles if spec.name == short):
                first = taken.setdefault(port, role)
                if first.partition(".")[0] != part:
                    what = f"nodes.{node}.runs: {first} and {role} both listen on port {port}"
                    self.review.add(("nodes", node, "runs"), what, "put one of them on another node")

    def check_once(self, roles: Mapping[str, Sequence[str]]) -> None:
        """What the others ask, or what decides, is in one place."""
        for part in self.catalog.values():
            for role in (f"{part.name}.{one.name}" for one in part.roles if one.place in ("control", "named")):
                first, *others = [node for node in roles if role in roles[node]] or [""]
                for node in others:
                    what = f"nodes.{node}.runs: {role} is on node {first} too"
                    self.review.add(("nodes", node, "runs"), what, f"list `{role}` in `runs` of one node")


def _has_defaults(section: type[BaseModel]) -> bool:
    return not any(field.is_required() for field in section.model_fields.values())
