"""What members see when they log in to a terminal: the facility and its news, what they use of their space, their jobs.

The former is `/etc/motd`, as everywhere; sshd shows it in sessions with a terminal and without a command only. The latter is a
script of the log-in shell: it runs as the member, reads what the agent wrote, and gives the queue a fifth of a second.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.facility.places import USAGE
from farmlet.parts.access import PACKAGE
from farmlet.parts.part import Context
from farmlet.parts.render import render
from farmlet.parts.resources import File, Resource


def greet(context: Context) -> Sequence[Resource]:
    facility, news = context.facility, context.section("access").news
    text = render(PACKAGE, "motd", title=facility.title or facility.name, host=context.node.fqdn, news=news.splitlines())
    return (
        File("/etc/motd", text),
        File("/etc/profile.d/farmlet-greeting.sh", render(PACKAGE, "greeting.sh", usage=USAGE)),
    )
