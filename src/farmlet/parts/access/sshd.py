"""sshd's settings. They are put in force only if sshd takes them: with any that it refuses it would not start the next time,
and everybody were locked out."""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.parts.resources import Command, File, Resource

WANTED = "/etc/farmlet/sshd.conf"  # whole enough for sshd to read it alone
SETTINGS = "/etc/ssh/sshd_config.d/00-farmlet.conf"
FORCE = """\
mkdir -p -m 755 /run/sshd
/usr/sbin/sshd -t -f {wanted}
install -o root -g root -m 644 {wanted} {settings}.new
sync {settings}.new
mv {settings}.new {settings}
sync $(dirname {settings})
"""
# what was changed by hand is neither
SAME = "cmp -s {wanted} {settings} && [ \"$(stat -c '%U %G %a' {settings})\" = 'root root 644' ]"


def put_in_force(text: str, wanted: str = WANTED, settings: str = SETTINGS) -> Sequence[Resource]:
    """`text` as a file that is the last to be read beside others; `up` fails with sshd's words for what it refuses."""
    places = {"wanted": wanted, "settings": settings}
    force = Command("settings that sshd takes", FORCE.format(**places), SAME.format(**places), makes=(settings,))
    return (File(wanted, text), force)
