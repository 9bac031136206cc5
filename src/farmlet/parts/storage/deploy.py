"""Where storage stands, and its clients on every node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.resources import Packages, Resource
from farmlet.parts.storage import element
from farmlet.parts.storage.config import Storage

CHECKS = "farmlet.parts.storage.checks"


def authorities(context: Context) -> Mapping[str, str]:
    """Whom servers and clients of the facility trust, by name."""
    sites = {f"site-{name}": site.ca for name, site in context.trust.sites.items() if site.ca}
    return {"facility": context.trust.ca, **sites}


def configure_element(context: Context) -> Sequence[Resource]:
    facility = context.facility
    return element.configure(
        context.node.fqdn, facility.issuer, facility.name, authorities(context), element.find_groups(facility)
    )


def check_element(context: Context) -> Sequence[Check]:
    host = context.node.fqdn
    return (
        Check("storage.unit", "farmlet.runtime.checks:check_unit", {"unit": element.UNIT}),
        Check("storage.certificate", "farmlet.runtime.checks:check_certificate", {"path": element.CERTIFICATE}),
        Check("storage.door", f"{CHECKS}:check_door", {"url": element.url(host), "folder": element.AUTHORITIES}),
        Check("storage.root", "farmlet.runtime.checks:check_port", {"host": host, "port": element.ROOT_PORT}),
    )


def install_client() -> Sequence[Resource]:
    return (Packages(("xrootd-client", "xrootd-client-plugins", "davix", "curl", "openssl", "ca-certificates")),)


def configure_client(context: Context) -> Sequence[Resource]:
    # curl and davix go by the system's trust, which part base keeps; XRootD's client by this folder
    return element.trust(authorities(context))


def check_client(context: Context) -> Sequence[Check]:
    args = {"folder": element.AUTHORITIES, "names": [f"farmlet-{name}.pem" for name in authorities(context)]}
    return (Check("storage.client", f"{CHECKS}:check_client", args),)


PART = Part(
    name="storage",
    summary="XRootD: data by root:// and WebDAV for who bears a token",
    section=Storage,
    needs=("base",),
    roles=(
        Role(
            "element",
            "members",
            configure_element,
            element.install,
            check_element,
            ports=(element.ROOT_PORT, element.WEB_PORT),
            data=(element.DATA,),
            forget=element.FORGET,
        ),
        Role("client", "every", configure_client, install_client, check_client),
    ),
)
