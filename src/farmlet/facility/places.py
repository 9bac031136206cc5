"""What several parts call by one name."""

from __future__ import annotations

CA = "/etc/farmlet/ca.pem"  # on every node: the facility's authority
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"  # and all that the node trusts
CONTROL = "/var/lib/farmlet/control"  # on the control node: `outbox` is what nodes fetch, `inbox` what they leave
MEMBERSHIP = "membership"  # an item for all nodes: when the members were read last (seconds since 1970)
SOFTWARE = "/cvmfs"  # what is published, at the same path everywhere
CREDENTIAL = "farmlet"  # the OAuth service of HTCondor whose token jobs find in BEARER_TOKEN_FILE
CREDENTIALS = "/var/lib/condor/oauth_credentials"  # on an access point: NAME/farmlet.use, the token of a member who stored one
# Characters of a token's audiences together, with a blank between two: XRootD takes tokens of up to 4096 characters.
AUDIENCES = 2000
ANY = "https://wlcg.cern.ch/jwt/v1/any"  # the audience of a token for anybody: WLCG Common JWT Profile 1.x
SSH = "ssh"  # the audience of a token that opens a log-in at every node; `ssh_HOST` opens one at that host (motley-cue)

# on a log-in node: what members use of their homes and scratch, a line `NAME KIND WORDS` for each folder; for everybody to read
USAGE = "/run/farmlet-usage"

# on the control node: names and numbers that the nodes know, for who gives them (`runtime.seen`)
SEEN = "/var/lib/farmlet/accounts/seen.json"

# likewise: the key that sites know, in the account for drones, and the sites' own; and where drones may go (`parts.gate`)
SITE_KEY = "/var/lib/farmlet/overlay/ssh/id_ed25519"
SITE_HOSTS = "/etc/farmlet/overlay/known_hosts"
GATES = "/var/lib/farmlet/sitetests/gates"
SCRATCH = 1024  # MiB of disk that a drone asks a site for

IMAGES = f"{SOFTWARE}/unpacked"
SHARED = "/software"  # what of the URL of the node that publishes is for those that fetch it

# of members who are logged in or have a workflow: NAME/token below it, by a unit that is there as long as either wants it;
# monitoring leaves units out whose names begin so, for there is one for each member
SESSIONS = "/run/farmlet-tokens"
SESSION_UNIT = "session-token@{uid}.service"

# where members and HTCondor's daemons meet, to show who they are: what either makes there belongs to them, as the other sees. And
# what lets members read the pool: NAME/tokens below it
MEET = "/run/farmlet.meet"
POOL_READERS = "/var/lib/farmlet/batch/readers"

# of members who have a notebook: NAME/token below it, as the log-in sessions have theirs
NOTEBOOKS = "/run/farmlet-notebooks"
PUBLISHERS = "/etc/farmlet/publishers.json"  # the UNIX groups whose members may show images of their own to all
OWN_IMAGES = "/run/farmlet.images"  # where members tell of images of their own (`parts.own`)
NOTEBOOK = "farmlet.member"  # the label of a notebook's container: whose it is
SERVER = "farmlet-server-"  # how the unit of a notebook begins that systemd runs; its member's name and perhaps .SERVER follow


def find_secret(client: str) -> str:
    """The item by which a node gets the secret of its web service's OAuth client (`Route.client`)."""
    return f"client-{client}"


def find_published(domain: str) -> str:
    """The folder of what this facility tells its jobs, wherever they run."""
    return f"{SOFTWARE}/{domain}"


def find_unpacked(domain: str) -> str:
    """The folder of registries' images, unpacked: what a CVMFS repository of this name has at sites."""
    return f"{SOFTWARE}/unpacked.{domain}"


def find_authorities(domain: str) -> str:
    """The hashed folder of the authorities that jobs trust."""
    return f"{find_published(domain)}/certificates"


def find_image(name: str) -> str:
    """The folder of an unpacked image."""
    return f"{IMAGES}/{name}"
