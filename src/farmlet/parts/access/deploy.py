"""Part `access`: the SSH certificate authority on the control node, log-in on the nodes where members work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility, Route
from farmlet.facility.names import unix_group
from farmlet.facility.places import CA, CONTROL, SSH
from farmlet.parts import units
from farmlet.parts.access import PACKAGE, limits, motley, sshd, tools
from farmlet.parts.access.config import Section
from farmlet.parts.access.greeting import greet
from farmlet.parts.backup import Backup
from farmlet.parts.part import Check, Context, Leave, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Directory, Farmlet, File, KeyPair, Packages, Resource, Unit
from farmlet.parts.tasks import tell_agent
from farmlet.runtime.issuer.logins import ANY

OURS = "farmlet"  # the client of `farmlet login` at our own issuer
USER = "farmlet-ssh"
FOLDER = "/var/lib/farmlet/ssh"
CONFIG = "/etc/farmlet/ssh.json"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
TRUSTED = "/etc/ssh/farmlet_user_ca.pub"
PRINCIPALS = "/usr/lib/farmlet/principals"
# sshd gives name and uid: an account of the host's own may have the name of a member, and is not theirs
PRINCIPALS_SCRIPT = """\
#!/bin/sh
# Written by Farmlet: certificates of members open accounts of members only.
[ "$2" -lt {first_uid} ] || echo "$1"
"""

# our own issuer tells of a change by itself; others are asked for who logs in (accounts.asking)
ASKER = "/usr/lib/farmlet/ask-login"

# pam_nologin tells the text to who is turned away; all that runs for one member on a node is in a slice of theirs
NOLOGIN = "/etc/nologin"
BUSY = """\
systemctl list-units --plain --no-legend --type=slice 'user-*.slice' | while read -r slice rest; do
    uid=${slice#user-} uid=${uid%.slice} count=$(systemctl show -P TasksCurrent "$slice")
    [ "$uid" -lt 1000 ] || [ "${count:-0}" = "[not set]" ] || echo "processes and threads of $(id -nu "$uid"): $count"
done
"""
LEAVE = Leave(
    close=f'echo "$FARMLET_NODE is being emptied: please log in at another node of the facility." > {NOLOGIN}',
    open=f"rm -f {NOLOGIN}",
    busy=BUSY,
)

# containers of members' own, without root
ROOTLESS = ("podman", "crun", "uidmap", "passt", "slirp4netns", "fuse-overlayfs", "netavark", "aardvark-dns", "catatonit")

HOSTCERTS = units.Service(
    name="farmlet-hostcerts",
    description="Farmlet SSH host certificates",
    user=USER,
    command=f"{units.SERVICE}/bin/python -m farmlet.parts.access.hostcerts",
    kind="oneshot",
    writable=(f"{CONTROL}/outbox",),
    install=False,
)
# systemd loses what happens in the inbox while the signer runs, so it also looks now and then; a look costs 0.1 s
SIGNING = units.Trigger(
    HOSTCERTS.name,
    "timer",
    "Farmlet: sign and renew SSH host certificates",
    ("OnBootSec=30", "OnUnitInactiveSec=30", "AccuracySec=1"),
)
AUTHORITY = units.Web(
    name="farmlet-ssh",
    socket="ssh",
    description="Farmlet SSH authority",
    user=USER,
    app=f'farmlet.parts.access.authority:load("{CONFIG}")',
)


def describe(context: Context) -> dict[str, object]:
    """What `farmlet login` is told of the facility, besides what the authority knows itself."""
    facility = context.facility
    return {
        "name": facility.name,
        "title": facility.title,
        "issuer": facility.issuer,
        # at an external issuer it is made by hand, and "" until it is named
        "client": context.section("access").client if facility.external else OURS,
        "scope": context.scopes,
        "nodes": [node.fqdn for node in facility.hosts("access.login")],
    }


def configure_authority(context: Context) -> Sequence[Resource]:
    facility = context.facility
    config = {
        "issuer": facility.issuer,
        # by those of others that our own issuer lets ask for a log-in (mccli) members come in at nodes, not here
        "clients": [OURS] if context.login_clients is None else context.login_clients,
        # tokens of others name a person by `sub` only; the accounts daemon knows whose UNIX name that is
        "members": f"{CONTROL}/outbox/all/accounts" if facility.external else "",
        "key": f"{FOLDER}/user_ca",
        "host_key": f"{FOLDER}/host_ca",
        "domain": facility.domain,
        "hours": context.section("access").certificate_hours,
        "about": describe(context),
        "control": CONTROL,
        "nodes": {node.name: [node.fqdn, node.name] for node in facility.nodes.values()},
    }
    watched = [f"PathChanged={CONTROL}/inbox/{name}" for name in sorted(facility.nodes)]
    path = units.Trigger(HOSTCERTS.name, "path", "Farmlet: a node left its SSH host key", watched)
    return (
        Account(USER, groups=("farmlet-control",)),
        Directory(FOLDER, 0o700, USER, USER),
        KeyPair(config["key"], USER, f"{facility.name} members"),
        KeyPair(config["host_key"], USER, f"{facility.name} hosts"),
        Farmlet(units.SERVICE, context.wheel),
        File.of_json(CONFIG, config),
        HOSTCERTS.file,
        path.file,
        SIGNING.file,
        *AUTHORITY.files,
        *AUTHORITY.units,
        # the path unit comes before the first run, so that no key falls between the two
        path.unit,
        SIGNING.unit,
        HOSTCERTS.unit,
    )


def check_authority(context: Context) -> Sequence[Check]:
    url = f"https://{context.node.fqdn}"
    return (
        Check.of_unit("access.authority.unit", "farmlet-ssh.service"),
        Check.of_unit("access.authority.hosts", "farmlet-hostcerts.path"),
        Check("access.authority.refusal", f"{PACKAGE}.checks:check_authority", {"url": url, "ca": CA}),
    )


def install_login() -> Sequence[Resource]:
    return (
        Packages(("openssh-server", "libpam-systemd", "dbus-user-session")),
        *tools.install(),
        Packages(ROOTLESS),
    )


def login_groups(facility: Facility) -> list[str]:
    """The UNIX groups whose members may log in: those with `login`, and what lies below them (design §7)."""
    table = facility.rights
    found = [unix_group(path) for path in facility.groups if table.of("member", [path]).login]
    # without any, nobody but the administrators logs in; an empty list would let everybody
    return found or ["root"]


def configure_host(context: Context) -> Sequence[Resource]:
    # sshd reads host certificates when it starts; members' authorities at each log-in
    reload = ["systemctl", "reload", "ssh.service"]
    certificate = {"path": f"{HOST_KEY}-cert.pub", "mode": "0644", "then": [reload]}
    # where members log in, sshd has the settings of that
    here = "access.login" in context.node.roles
    text = "" if here else render(PACKAGE, "sshd-host.conf", host_key=HOST_KEY)
    return (
        tell_agent("access.host", publish={"ssh-host-key": f"{HOST_KEY}.pub"}, deliver={"ssh-host-cert": certificate}),
        *(() if here else (*sshd.put_in_force(text), Unit("ssh.service", reload=True))),
    )


def check_host(context: Context) -> Sequence[Check]:
    pair = {"certificate": f"{HOST_KEY}-cert.pub", "key": f"{HOST_KEY}.pub"}
    found = [Check("access.host.certificate", f"{PACKAGE}.checks:check_hostcert", pair)]
    if "access.login" not in context.node.roles:
        wanted = {"passwordauthentication": "no", "kbdinteractiveauthentication": "no", "x11forwarding": "no"}
        found.append(Check("access.host.settings", f"{PACKAGE}.checks:check_settings", {"wanted": wanted, "user": "nobody"}))
    return found


def configure_login(context: Context) -> Sequence[Resource]:
    admins = {"root", context.node.user, *context.section("access").local_admins}
    by_token = motley.is_on(context.facility, context.node)
    text = render(
        PACKAGE,
        "sshd.conf",
        host_key=HOST_KEY,
        authority=TRUSTED,
        principals=PRINCIPALS,
        groups=login_groups(context.facility),
        admins=sorted(admins),
        tokens=by_token,
    )
    first_uid = context.section("identity").first_uid
    program = f"{motley.PROGRAM} {first_uid}"
    asker = ASKER if context.facility.external else ""
    values = {"tokens": by_token, "module": motley.MODULE.path, "program": program, "asker": asker, "first_uid": first_uid}
    stack = render(PACKAGE, "sshd.pam", **values)
    return (
        tell_agent("access.login", deliver={"ssh-user-ca.pub": {"path": TRUSTED, "mode": "0644"}}),
        Directory(str(PurePosixPath(PRINCIPALS).parent)),
        File(PRINCIPALS, PRINCIPALS_SCRIPT.format(first_uid=first_uid), 0o755),
        *([File(ASKER, render(PACKAGE, "asker.sh", url=context.facility.public_url), 0o755)] if asker else ()),
        File("/etc/pam.d/sshd", stack),
        *sshd.put_in_force(text),
        *limits.configure(context),
        *greet(context),
        *tools.configure(context),
        Unit("ssh.service", reload=True),
    )


def check_login(context: Context) -> Sequence[Check]:
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "yes" if motley.is_on(context.facility, context.node) else "no",
        "authorizedkeysfile": "none",
        "trustedusercakeys": TRUSTED,
        "usepam": "yes",
    }
    return (
        Check.of_unit("access.login.unit", "ssh.service"),
        Check("access.login.banner", f"{PACKAGE}.checks:check_banner", {"host": "127.0.0.1"}),
        Check("access.login.settings", f"{PACKAGE}.checks:check_settings", {"wanted": wanted, "user": "nobody"}),
        Check("access.login.authority", "farmlet.runtime.checks:check_file", {"path": TRUSTED}),
        *limits.check(context),
    )


def note(facility: Facility) -> Iterator[str]:
    section = facility.parts.get("access")
    if isinstance(section, Section) and section.login_clients == (ANY,):
        yield (
            f"any client of {facility.issuer} opens a log-in (access.login_clients): what a member has once signed in to, also "
            "if anybody registered it there a minute ago, can log in by SSH as them"
        )


def validate(facility: Facility) -> Iterator[Issue]:
    section = facility.parts.get("access")
    if isinstance(section, Section) and section.login_clients and not facility.external:
        hint = "our own issuer knows who may ask: identity: {registered_logins: true} is for programs that register themselves"
        yield ("access", "login_clients"), "is only for an external issuer", hint
    # an existing directory has the daemon's accounts as well
    yield from find_lack(facility, ("access.login", "access.motley"), "accounts.daemon")
    if facility.has("accounts.daemon") and not getattr(facility.parts.get("accounts"), "ldap", None):
        yield from find_lack(facility, ("access.motley",), "accounts.directory")


PART = Part(
    name="access",
    summary="log-in by SSH certificates of the facility, and by tokens with motley-cue",
    section=Section,
    needs=("base", "identity", "accounts"),
    validate=validate,
    note=note,
    shell=True,
    roles=(
        Role(
            "authority",
            "control",
            configure_authority,
            lambda: (Packages(("openssh-client",)),),
            check_authority,
            routes=(Route("ssh", ("/ssh/*",)),),
            logins=lambda facility, node: {SSH: "log in by SSH as you"},
            data=(FOLDER,),
            backup=Backup(copy=(FOLDER,)),
        ),
        Role("host", "every", configure_host, lambda: (Packages(("openssh-server",)),), check_host, ports=(22,)),
        # before sshd sends anybody there
        Role(
            "motley",
            "members",
            motley.configure_motley,
            motley.install_motley,
            motley.check_motley,
            routes=(motley.ROUTE,),
            logins=motley.name_logins,
            with_role="access.login",
            # it keeps what it knows of a token as long as the token lives, and tokens that wait for their one log-in
            forget=f"systemctl try-restart {motley.USER}.service",
        ),
        Role(
            "login",
            "members",
            configure_login,
            install_login,
            check_login,
            ports=(22,),
            leave=LEAVE,
            endpoints=lambda facility, node: {"ssh": node.fqdn},
        ),
    ),
)
