"""What stands for a member's server that others visit: JupyterHub's own log-in for servers, and what its member writes."""

import asyncio
import json
import os
import sys
from pathlib import Path

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado.web import Application, RequestHandler, authenticated
from tornado.websocket import WebSocketHandler

import farmlet.parts.notebooks

sys.path.append(str(Path(farmlet.parts.notebooks.__file__).parent / "inside" / "python"))
from farmlet_guests import Guests

PREFIX = os.environ["JUPYTERHUB_SERVICE_PREFIX"]


class Page(HubOAuthenticated, RequestHandler):
    @authenticated
    def get(self):
        self.set_header("Content-Type", "text/html")
        self.write(f"<title>server</title>{self.current_user['name']} at {os.environ['USER']}")

    @authenticated
    def post(self):
        self.write("done")


class Token(HubOAuthenticated, RequestHandler):
    @authenticated
    def get(self):
        self.write(self.hub_auth.get_token(self))  # as JupyterLab's page has it


class Socket(HubOAuthenticated, WebSocketHandler):
    @authenticated
    async def get(self):
        await super().get()

    def open(self):
        self.write_message("here")

    def on_message(self, message):
        self.write_message(message)


class Toss(RequestHandler):
    def get(self):
        """Cookies for all origins below a parent's name."""
        for name, value, place in json.loads(self.get_argument("one")):
            self.add_header("Set-Cookie", f"{name}={value}; {place}")
        self.write("tossed")


class Alive(RequestHandler):
    def get(self):
        self.set_header("X-JupyterHub-Version", "6.1.1")


async def main():
    pages = {"": Page, "token": Token, "socket": Socket, "toss": Toss, "api": Alive, "oauth_callback": HubOAuthCallbackHandler}
    application = Application([(PREFIX + path, page) for path, page in pages.items()], cookie_secret=os.urandom(32))
    application.listen(int(os.environ["PORT"]), "127.0.0.1")
    Guests(HubOAuth.instance()).watch()
    await asyncio.Event().wait()


asyncio.run(main())
