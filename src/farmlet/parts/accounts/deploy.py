"""Part `accounts`: directory and daemon on the control node, sssd on every node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.facility.places import CA, CONTROL, SEEN, SYSTEM_CA
from farmlet.parts import units
from farmlet.parts.accounts import PACKAGE
from farmlet.parts.accounts.config import Section
from farmlet.parts.accounts.daemon import CONFIG
from farmlet.parts.accounts.external import PLACE, ROUTE, USER, after_members, ask, check_external, tell_asking
from farmlet.parts.accounts.homes.files import PORT, validate_files
from farmlet.parts.accounts.sink.state import MARK, suffix
from farmlet.parts.accounts.source.record import FOLDER
from farmlet.parts.accounts.tasks import check_files, check_homes, configure_files, configure_homes, end_members
from farmlet.parts.backup import Backup, keep_database
from farmlet.parts.part import Check, Context, Metric, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Certificate, Command, Directory, Farmlet, File, Packages, Resource, Unit

OUTBOX = f"{CONTROL}/outbox/all"
SECRET = "/var/lib/farmlet/identity/clients/accounts.secret"  # made by identity, handed over by systemd
PASSWORD = "/etc/farmlet/ldap-bind.secret"  # of our account in an existing directory: the admin puts it there
AUTHORITY = "/etc/farmlet/ldap-ca.pem"  # of an existing directory
FAULTS = f"{FOLDER}/faults.json"
LDIF = "/etc/ldap/farmlet.ldif"
DATABASE = "/var/lib/ldap"

# The whole configuration is replaced; the entries are in another database and stay.
LOAD = f"""
systemctl stop slapd.service
new=$(mktemp -d /etc/ldap/slapd.d.XXXXXX)
sed -e "s/@UID@/$(id -u {USER})/" -e "s/@GID@/$(id -g {USER})/" {LDIF} > "$new.ldif"
slapadd -n 0 -F "$new" -l "$new.ldif"
rm -rf "$new.ldif" /etc/ldap/slapd.d
mv "$new" /etc/ldap/slapd.d
chown -R openldap:openldap /etc/ldap/slapd.d
"""


def install_directory() -> Sequence[Resource]:
    quiet = "echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections"
    return (
        # the package would else make a database with a password nobody chose
        Command("slapd without a default database", quiet, unless="dpkg -s slapd >/dev/null 2>&1"),
        Packages(("slapd", "ldap-utils")),
    )


def configure_directory(context: Context) -> Sequence[Resource]:
    """Our own directory; stopped where an existing one holds the accounts."""
    if context.section("accounts").ldap:
        return (Unit("slapd.service", running=False),)
    certificate, key = "/etc/ldap/farmlet.crt", "/etc/ldap/farmlet.key"
    text = render(
        PACKAGE,
        "slapd.ldif",
        certificate=certificate,
        key=key,
        folder=DATABASE,
        base=suffix(context.facility.domain),
    )
    defaults = (
        'SLAPD_CONF="/etc/ldap/slapd.d"\nSLAPD_USER="openldap"\nSLAPD_GROUP="openldap"\n'
        # no plain ldap://, not even on loopback
        'SLAPD_SERVICES="ldaps:/// ldapi:///"\nSLAPD_OPTIONS=""\n'
    )
    return (
        Account(USER, groups=("farmlet-control",)),
        Directory(DATABASE, 0o700, "openldap", "openldap"),
        Certificate(
            certificate,
            key,
            (context.node.fqdn,),
            owner="openldap",
            group="openldap",
            reload=("systemctl", "try-restart", "slapd.service"),
        ),
        File("/etc/default/slapd", defaults),
        File(LDIF, text, 0o600),
        Command("directory configuration", LOAD),
        Unit("slapd.service"),
    )


def check_directory(context: Context) -> Sequence[Check]:
    if context.section("accounts").ldap:
        return ()
    return (
        Check.of_unit("accounts.directory.unit", "slapd.service"),
        Check("accounts.directory.tls", f"{PACKAGE}.checks:check_tls", {"host": context.node.fqdn, "ca": CA}),
        Check(
            "accounts.directory.certificate",
            "farmlet.runtime.checks:check_certificate",
            {"path": "/etc/ldap/farmlet.crt"},
        ),
    )


def daemon(facility: Facility) -> units.Service:
    return units.Service(
        name="farmlet-accounts",
        description="Farmlet accounts",
        user=USER,
        command=f"{units.SERVICE}/bin/python -m farmlet.parts.accounts.daemon",
        writable=(OUTBOX, FOLDER),
        credentials={} if facility.external else {"accounts-secret": SECRET},
        after=("slapd.service", "farmlet-identity.service", "caddy.service"),
    )


def source(context: Context) -> dict[str, object]:
    """Where the members come from, for the daemon's configuration."""
    facility, identity = context.facility, context.section("identity")
    if not facility.external:
        return {"issuer": facility.issuer, "client": "accounts"}
    return {
        "issuer": facility.issuer,
        "client": identity.client,
        "prefix": identity.group_prefix,
        "poll": context.section("accounts").poll_seconds,
        "first_gid": identity.first_gid,
        "folder": FOLDER,
        "secret": PLACE,
        **tell_asking(facility),
    }


def keep(path: str, what: str) -> Command:
    """A file made empty, for the admin to fill: a check tells. The daemon reads it at each use: a new one needs no restart."""
    return Command(
        f"place for {what}",
        f"mkdir -p /etc/farmlet && touch {path} && chown root:{USER} {path} && chmod 640 {path}",
        f"test \"$(stat -c '%U:%G %a' {path} 2>/dev/null)\" = 'root:{USER} 640'",
    )


def place(context: Context) -> dict[str, object]:
    """Where the accounts go, for the daemon's configuration."""
    existing, domain = context.section("accounts").ldap, context.facility.domain
    if not existing:
        return {"base": suffix(domain)}
    server = {"uri": existing.url, "bind": existing.bind, "password": PASSWORD, "ca": AUTHORITY if existing.ca else ""}
    # another facility may have its accounts in the same subtrees
    return {"base": "", "people": existing.people, "groups": existing.groups, "mark": f"{MARK}@{domain}", "server": server}


def configure_daemon(context: Context) -> Sequence[Resource]:
    section, facility = context.section("accounts"), context.facility
    config = {
        "source": source(context),
        "first_uid": context.section("identity").first_uid,
        **place(context),
        "homes": section.homes,
        "shell": section.shell,
        "rights": facility.rights.to_json(),
        "outbox": OUTBOX,
        "tombstones": f"{FOLDER}/tombstones.json",
        "faults": FAULTS,
        "seen": SEEN,
    }
    return (
        Account(USER, groups=("farmlet-control",)),
        # whoever gives names and numbers reads one of the files, by its name
        Directory(FOLDER, 0o711, USER, USER),
        Farmlet(units.SERVICE, context.wheel),
        File.of_json(CONFIG, config),
        *((keep(PLACE, "the client's secret"),) if facility.external else ()),
        *((keep(PASSWORD, "the password in the directory"),) if section.ldap else ()),
        daemon(facility).file,
        daemon(facility).unit,
        *(ask(CONFIG) if facility.external else ()),
    )


COUNTED = {"listing": f"{OUTBOX}/accounts", "faults": FAULTS}


def check_daemon(context: Context) -> Sequence[Check]:
    existing = context.section("accounts").ldap
    known = (*after_members(context), *(("accounts.daemon.password",) if existing else ()))
    listing = {"path": f"{OUTBOX}/accounts", "seconds": 15}
    found: tuple[Check, ...] = (
        Check.of_unit("accounts.daemon.unit", "farmlet-accounts.service"),
        Check("accounts.daemon.listing", f"{PACKAGE}.checks:check_listing", listing, after=known),
        Check("accounts.daemon.faults", f"{PACKAGE}.checks:check_faults", {"path": FAULTS}, after=known),
    )
    if existing:
        secret = {"path": PASSWORD, "user": USER, "whose": existing.bind, "where": existing.url}
        found = (Check("accounts.daemon.password", f"{PACKAGE}.checks:check_password", secret, by_hand=True), *found)
    return (*(check_external(context) if context.facility.external else ()), *found)


def install_client() -> Sequence[Resource]:
    return (
        Packages(("sssd-ldap", "libnss-sss", "libpam-sss", "sssd-tools")),
        # sssd starts its responders itself; the sockets would only fail beside it
        *(Unit(f"sssd-{name}.socket", running=False) for name in ("nss", "pam", "ssh", "sudo", "autofs")),
    )


def trust(context: Context) -> str:
    """Path of the authorities that vouch for the directory."""
    existing = context.section("accounts").ldap
    if not existing:
        return CA
    return AUTHORITY if existing.ca else SYSTEM_CA


def configure_client(context: Context) -> Sequence[Resource]:
    facility, identity = context.facility, context.section("identity")
    minimum = min(identity.first_uid, identity.first_gid)
    existing = context.section("accounts").ldap
    text = render(
        PACKAGE,
        "sssd.conf",
        domain=facility.domain,
        url=existing.url if existing else f"ldaps://{facility.host('accounts.directory').fqdn}",
        existing=existing,
        base=suffix(facility.domain),
        mark=f"{MARK}@{facility.domain}",
        ca=trust(context),
        minimum=minimum,
    )
    return (
        *((File(AUTHORITY, existing.ca),) if existing and existing.ca else ()),
        *end_members(context),
        File("/etc/sssd/sssd.conf", text, 0o640),
        Unit("sssd.service"),
    )


def check_client(context: Context) -> Sequence[Check]:
    existing = context.section("accounts").ldap
    server: dict[str, object] = {"ca": trust(context)}
    if existing:
        server |= {"host": existing.host, "port": existing.port, "start": existing.starts}
    else:
        server |= {"host": context.facility.host("accounts.directory").fqdn}
    return (
        Check.of_unit("accounts.client.unit", "sssd.service"),
        Check("accounts.client.names", f"{PACKAGE}.checks:check_names"),
        # over TLS, by name, with this node's own trust: what sssd itself does
        Check("accounts.client.directory", f"{PACKAGE}.checks:check_tls", server),
    )


def validate(facility: Facility) -> Iterator[Issue]:
    if not getattr(facility.parts.get("accounts"), "ldap", None):
        yield from find_lack(facility, ("accounts.client",), "accounts.directory")
    yield from validate_files(facility)


HOMES = Backup(copy=("/home",))  # what is in /scratch can be had again: that is what the word says to members

PART = Part(
    name="accounts",
    summary="UNIX accounts out of the membership: directory, sssd, homes",
    section=Section,
    needs=("base", "identity"),
    validate=validate,
    decides=2,
    roles=(
        Role(
            "directory",
            "control",
            configure_directory,
            install_directory,
            check_directory,
            (636,),
            (DATABASE,),
            backup="the accounts daemon writes all entries again out of the membership",
        ),
        Role(
            "daemon",
            "control",
            configure_daemon,
            checks=check_daemon,
            metrics=lambda context: (Metric("accounts.accounts", f"{PACKAGE}.metrics:count_accounts", COUNTED),),
            data=(FOLDER,),
            routes=(ROUTE,),
            backup=keep_database(f"{FOLDER}/ledger.sqlite3", FOLDER),
        ),
        Role("client", "every", configure_client, install_client, check_client),
        # in a sandbox the usual places are volumes, which outlive the nodes and are the same on all of them
        Role(
            "homes",
            "members",
            configure_homes,
            checks=check_homes,
            shares=("/home", "/scratch"),
            quotas=("/home", "/scratch"),
            with_role="access.login",
            backup=HOMES,
        ),
        Role(
            "files",
            "named",
            configure_files,
            checks=check_files,
            ports=(PORT,),
            shares=("/home", "/scratch"),
            quotas=("/home", "/scratch"),
            backup=HOMES,
        ),
    ),
)
