"""What parts tell a node's agent to do, each in a file of its own; `base.tasks` says what may stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.facility.places import find_secret
from farmlet.parts.resources import File

FOLDER = "/etc/farmlet/agent.d"  # part `base` makes it, and comes first


def tell_agent(name: str, **tasks: object) -> File:
    """`name`: the file's, like `batch.central`. `tasks`: `publish`, `deliver` and `apply` by name."""
    return File.of_json(f"{FOLDER}/{name}.json", tasks)


def deliver_secret(client: str, path: str, owner: str, then: Sequence[str]) -> dict[str, object]:
    """For `deliver`: the secret of a web service's OAuth `client`, for `owner` alone, and the command that follows it."""
    return {find_secret(client): {"path": path, "mode": "0600", "owner": owner, "group": owner, "then": [list(then)]}}


def follow(call: str, args: Mapping[str, object], again: bool = False) -> dict[str, object]:
    """For `apply`: the function `call` (`module:function`) gets each new list of accounts, with `args` as keywords; `again`: also
    now and then without one."""
    return {"accounts": {"call": call, "args": args} | ({"again": True} if again else {})}
