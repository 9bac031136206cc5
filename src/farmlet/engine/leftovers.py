"""What an earlier `up` put on a node and nothing there wants any more: of a role that was taken out of the node's `runs`, say.

The state folder remembers for each node which units its roles started and which files of ours they wrote: {role: {"units":
[name], "files": [path]}}. Units are stopped and files go; packages, accounts and data stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.parts.resources import Absent, Command, File, Resource, Unit, Wanted

OURS = "farmlet"  # in the path of what is ours alone; a file that replaced a package's own stays, or the package would be without
LEFT = ".left"  # behind a role's name
SSHD = "ssh.service"  # nodes are reached by it: without our settings it goes on with its package's
KINDS = ("units", "files")
Made = Mapping[str, Mapping[str, Sequence[str]]]


def list_made(wanted: Sequence[Wanted]) -> Made:
    """What there will be of these roles, as the state folder remembers it."""
    return {
        role.role: {
            "units": [one.name for one in role.resources if isinstance(one, Unit) and one.running],
            "files": [path for one in role.resources for path in _list_paths(one) if OURS in path],
        }
        for role in wanted
        if not role.role.endswith(LEFT)
    }


def _list_paths(resource: Resource) -> Sequence[str]:
    """The files that it writes."""
    if isinstance(resource, Command):
        return resource.makes
    return (resource.path,) if isinstance(resource, File) else ()


def join(before: Made, after: Made) -> Made:
    """What may be there while one becomes the other."""
    both = (before, after)
    return {
        role: {kind: list(dict.fromkeys(name for made in both if role in made for name in made[role][kind])) for kind in KINDS}
        for role in {**before, **after}
    }


def find_left(wanted: Sequence[Wanted], made: Made) -> list[Wanted]:
    """What to do about what was `made` and is not among the `wanted`."""
    resources = [resource for role in wanted for resource in role.resources]
    units = {one.name: one for one in resources if isinstance(one, Unit) and one.running}
    paths = {str(path) for one in resources for path in (*_list_paths(one), getattr(one, "path", ""))}
    found = [Wanted(f"{role}{LEFT}", _undo(one["units"], one["files"], units, paths)) for role, one in made.items()]
    return [role for role in found if role.resources]


def _undo(made: Sequence[str], files: Sequence[str], units: Mapping[str, Unit], paths: set[str]) -> tuple[Resource, ...]:
    """A unit is stopped while its file is still there; one that others want too forgets what the files said."""
    gone = [Absent(path) for path in files if path not in paths]
    kept = {SSHD: Unit(SSHD, reload=True), **units}
    stopped = [Unit(name, running=False) for name in made if name not in kept]
    again = [kept[name] for name in made if name in kept] if gone else []
    return (*stopped, *gone, *again)
