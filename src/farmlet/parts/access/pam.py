"""What sshd's PAM step asks: does this access token, read from standard input, let this user in? Standard library only.

    python -m farmlet.parts.access.pam FIRST_UID USER    exits 0 if it does

motley-cue answers on its unix socket. A one-time password stands for a token longer than ssh takes (mccli: sha512 in hex).
"""

from __future__ import annotations

import http.client
import json
import pwd
import re
import socket
import sys
import syslog
import urllib.parse

from farmlet.facility.names import MEMBER

SOCKET = "/run/farmlet-proxy/motley.sock"
LONGEST = 16384
SECONDS = 20.0
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|[0-9a-f]{128}", re.ASCII)


class Connection(http.client.HTTPConnection):
    """HTTP over the unix socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def verify(user: str, token: str, path: str = SOCKET) -> str:
    """ "" if the token's account is deployed and has the name `user`, else why not. Nothing told holds the token."""
    if not (MEMBER.fullmatch(user) and TOKEN.fullmatch(token)):
        return "no token"
    connection = Connection(path)
    try:
        query = urllib.parse.urlencode({"username": user})
        connection.request("GET", f"/verify_user?{query}", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read(LONGEST)
        if answer.status != 200:
            return f"motley-cue answers {answer.status}"
        found = json.loads(body)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"motley-cue: {error!r}"
    finally:
        connection.close()
    known = isinstance(found, dict) and found.get("state") == "deployed" and found.get("verified") is True
    return "" if known else "the token is not this account's"


def is_member(user: str, first_uid: int) -> bool:
    """Whether the account that sshd would open is a member's: one of the host's own may have the same name."""
    try:
        return pwd.getpwnam(user).pw_uid >= first_uid
    except KeyError:
        return False


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        return 2
    first_uid, user = int(arguments[0]), arguments[1]
    refusal = verify(user, sys.stdin.read(LONGEST + 1).strip())
    if not refusal and not is_member(user, first_uid):
        refusal = "this account is the host's own"
    if refusal and refusal != "no token":
        syslog.openlog("farmlet-pam", facility=syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_NOTICE, f"log-in of {user!r} by token refused: {refusal}")
    return 1 if refusal else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
