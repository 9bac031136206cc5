"""The configuration of a JupyterHub whose people come from the service under test. Read by JupyterHub, not by the tests.

$HUB names a JSON file {"port", "issuer", "secret", "ca"}.
"""

import json
import os
from pathlib import Path

from jupyterhub.proxy import Proxy
from oauthenticator.generic import GenericOAuthenticator

given = json.loads(Path(os.environ["HUB"]).read_text())
here = f"http://127.0.0.1:{given['port']}"


class NoProxy(Proxy):
    """The hub is asked itself: nobody starts a server here, so there is nowhere else to lead to."""

    should_start = False
    routes: dict = {}  # noqa: RUF012

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


c = get_config()  # noqa: F821
c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = c.JupyterHub.hub_bind_url = here
c.JupyterHub.db_url = "sqlite:///:memory:"
c.JupyterHub.authenticator_class = GenericOAuthenticator
c.GenericOAuthenticator.client_id = "hub"
c.GenericOAuthenticator.client_secret = given["secret"]
c.GenericOAuthenticator.oauth_callback_url = f"{here}/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = f"{given['issuer']}/authorize"
c.GenericOAuthenticator.token_url = f"{given['issuer']}/token"
c.GenericOAuthenticator.userdata_url = f"{given['issuer']}/userinfo"
c.GenericOAuthenticator.scope = ["openid", "profile", "wlcg.groups"]
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.manage_groups = True
c.GenericOAuthenticator.auth_state_groups_key = lambda state: state["oauth_user"]["wlcg.groups"]
c.GenericOAuthenticator.allowed_groups = {"/lab"}
c.GenericOAuthenticator.admin_groups = {"/lab/production"}
c.GenericOAuthenticator.http_request_kwargs = {"ca_certs": given["ca"]}
