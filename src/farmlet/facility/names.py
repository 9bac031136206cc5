"""Names that must hold on every system at once: UNIX, DNS, LDAP, HTCondor, WLCG groups. Standard library only.

The `check_` functions return what is wrong with a name, or None when it may be used.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Container, Iterable, Iterator
from itertools import chain, count
from urllib.parse import urlsplit

from farmlet.errors import InputError

MEMBER = re.compile(r"[a-z][a-z0-9_-]{0,30}")
FACILITY = re.compile(r"[a-z][a-z0-9-]{0,20}")
GROUP = re.compile(r"[a-z][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*")
HOST = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)

# groupadd and sssd cut or refuse longer names (shadow's GROUP_NAME_MAX_LENGTH on Debian)
UNIX_GROUP_LENGTH = 32
MEMBER_LENGTH = 31

# Whoever bears one of these names would be taken for the system account or group, e.g. `docker` is root by its socket, and
# `debian`, `ubuntu` and the like become root by sudo on hosts made from cloud images.
SYSTEM = """
    root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats nobody nogroup
    adm tty disk dialout fax voice cdrom floppy tape sudo wheel audio dip operator src shadow utmp video sasl plugdev
    staff users input sgx kvm render netdev crontab ssh-cert bluetooth lpadmin scanner admin administrator
    messagebus sshd polkitd dbus tss uuidd ntp chrony postfix exim debian-exim postgres mysql redis
    openldap sssd caddy docker podman condor condor_pool slurm slurmctld munge xrootd cvmfs jupyterhub grafana
    prometheus victoriametrics telegraf influxdb alertmanager motley-cue
    debian ubuntu fedora centos rocky almalinux opensuse ec2-user azureuser cloud-user cloudadmin vagrant
    farmlet identity accounts access batch overlay tokens storage software notebooks monitoring sitetests portal drone job
"""
RESERVED = frozenset(SYSTEM.split())
SYSTEMD = "systemd-"  # and whatever follows: more of them come with each version


def check_member(name: str, groups: Iterable[str] = ()) -> str | None:
    """The UNIX name of a member. `groups`: the facility's group paths, which a member's private group must not bear."""
    if not MEMBER.fullmatch(name):
        return "a member's name has 1 to 31 characters of a-z, 0-9, _ and -, the first a letter"
    if name in RESERVED or name.startswith(SYSTEMD):
        return f"{name} is a name of the system"
    if name in {path.replace("/", "-") for path in groups}:
        return f"{name} is the UNIX name of a group"
    return None


def derive_members(text: str) -> Iterator[str]:
    """UNIX names for a member whom another system calls `text`, the nearest first, without end; none is checked.

    `Zoë.Müller@example.org` → `zoe-muller`, `zoe-muller2`, … Whoever allocates takes the first that is free.
    """
    base = _plain(text.partition("@")[0] or text) or "member"
    base = base if base[0].isalpha() and not base.startswith(SYSTEMD) else f"u{base}"
    for number in count(1):
        tail = "" if number == 1 else str(number)
        yield base[: MEMBER_LENGTH - len(tail)] + tail


def derive_groups(text: str) -> Iterator[str]:
    """Group paths for a group that another system calls `text`, as `derive_members`: `Lab/Muon Group` → `lab/muon-group`."""
    steps = [step for part in text.split("/") if (step := _plain(part))] or ["group"]
    base = "/".join(steps)
    base = base if base[0].isalpha() and not base.replace("/", "-").startswith(SYSTEMD) else f"g{base}"
    for number in count(1):
        tail = "" if number == 1 else str(number)
        yield base[: UNIX_GROUP_LENGTH - len(tail)].rstrip("/") + tail


def _plain(text: str) -> str:
    """What of a text can stand in a name; letters keep their base."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", letters).strip("-_")


def derive_member(text: str, taken: Container[str], groups: Iterable[str] = ()) -> str:
    """A UNIX name for who is called `text` elsewhere: `text` itself if it will do, else the nearest that is free.

    `taken`: names that were ever given; `groups`: those of the facility, with whose names it must not clash.
    """
    groups = tuple(groups)
    candidates = chain((text,), derive_members(text))
    return next(name for name in candidates if name not in taken and check_member(name, groups) is None)


def check_group(path: str) -> str | None:
    """A group path such as `lab/production`."""
    if not GROUP.fullmatch(path):
        return "a group is a path like lab/production of a-z, 0-9, _ and -, the first a letter"
    name = path.replace("/", "-")
    if len(name) > UNIX_GROUP_LENGTH:
        return f"its UNIX name {name} is longer than {UNIX_GROUP_LENGTH} characters"
    if name in RESERVED or name.startswith(SYSTEMD):
        return f"{name} is a name of the system"
    return None


def unix_group(path: str) -> str:
    """The UNIX group of a group path: `lab/production` → `lab-production`. Raises InputError for a bad path.

    Injective only over paths that `find_collisions` has nothing to say about, as a loaded facility's are.
    """
    if fault := check_group(path):
        raise InputError(f"group {path}", fault)
    return path.replace("/", "-")


def accounting_group(path: str) -> str:
    """HTCondor's accounting group of a group path: `lab/muon-team` → `lab_muon_team`, for its settings' names have no `-`."""
    return re.sub("[/-]", "_", path)


def find_collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs (path, earlier path) that would get the same UNIX or accounting group, e.g. (`a-b`, `a/b`), (`a_b`, `a-b`)."""
    first: dict[str, str] = {}
    return [(path, earlier) for path in paths if (earlier := first.setdefault(accounting_group(path), path)) != path]


def ancestors(path: str) -> tuple[str, ...]:
    """The groups above a group path, outermost first: `a/b/c` → (`a`, `a/b`)."""
    steps = path.split("/")
    return tuple("/".join(steps[:end]) for end in range(1, len(steps)))


def check_host(name: str) -> str | None:
    """The name of a node or site: one DNS label (RFC 1123), beginning with a letter."""
    if name == "all":
        return "`all` stands for every node and cannot be the name of one"
    if HOST.fullmatch(name):
        return None
    return "a host's name is one DNS label: a-z, 0-9 and -, the first a letter, at most 63 characters"


def check_dns(name: str) -> str | None:
    """A DNS name of one or more labels (RFC 1123)."""
    labels = name.split(".")
    # an all-numeric last label would read as an (incomplete) address
    if len(name) <= 253 and all(map(LABEL.fullmatch, labels)) and not labels[-1].isdigit():
        return None
    return f"{name} is not a DNS name"


def check_address(address: str) -> str | None:
    """Where a host is reached: an IPv4 or IPv6 address or a DNS name."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return None if check_dns(address) is None else f"{address} is neither an IP address nor a DNS name"
    return None


def check_port(url: str) -> str | None:
    """The port of a URL, if it names one; Python raises for many that are none, wherever the URL is read."""
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    return "its port is not a number from 1 to 65535" if port == 0 else None


def check_title(text: str) -> str | None:
    """What members read of the facility, also on terminals."""
    return None if len(text) < 200 and text.isprintable() else "a title is one line of less than 200 characters"


def check_facility(name: str) -> str | None:
    """The facility's short name; containers and folders are named after it."""
    if FACILITY.fullmatch(name):
        return None
    return "a facility's name has 1 to 21 characters of a-z, 0-9 and -, the first a letter"
