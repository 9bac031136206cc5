"""JupyterHub as a node has it, but for what it stands on: no proxy, and names that are typed where $LOG_IN says so."""

import os

from jupyterhub.auth import Authenticator
from jupyterhub.proxy import Proxy

from farmlet.parts.notebooks.hub.configuration import configure


class NoProxy(Proxy):
    """The Hub is asked itself."""

    should_start = False
    routes: dict = {}  # noqa: RUF012

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


class Typed(Authenticator):
    """Whoever types a name is it."""

    async def authenticate(self, handler, data):
        return data["username"]


c = get_config()  # noqa: F821
configure(c, os.environ["SETTINGS"])
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url
if "LOG_IN" in os.environ:
    c.JupyterHub.authenticator_class = Typed
    c.Typed.allow_all = True
