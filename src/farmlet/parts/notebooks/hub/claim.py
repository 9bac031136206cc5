"""Whose browser this is, for the reverse proxy.

All servers are below one origin, apart by path, and a member decides what theirs answers: a page of it in another's browser
could ask that one's own server. So below `/user/NAME` the proxy lets in only browsers that have NAME in a cookie, and sends
others here (`Route.cookie`). The cookie opens nothing by itself.
"""

from __future__ import annotations

from jupyterhub.handlers import BaseHandler
from tornado.web import HTTPError, authenticated

from farmlet.parts.notebooks.hub.settings import CLAIM, COOKIE

OTHERS = "This is somebody else's server, and in your browser it could act as you. Share files in a folder of your group instead."


class Claim(BaseHandler):  # type: ignore[misc]
    """`/hub/claim/user/NAME/…`: after the log-in on to `/user/NAME/…`, if NAME is who came; otherwise 403, in words."""

    @authenticated
    def get(self) -> None:
        name, wanted = self.current_user.name, self.request.uri.removeprefix(f"{self.hub.base_url.rstrip('/')}{CLAIM}")
        # to the letter: another spelling would not come past the proxy
        if wanted.partition("?")[0].split("/")[:3] != ["", "user", name]:
            raise HTTPError(403, OTHERS)
        self.set_cookie(COOKIE, name, secure=True, httponly=True, samesite="Lax")
        self.redirect(wanted)
