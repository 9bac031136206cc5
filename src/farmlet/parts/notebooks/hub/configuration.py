"""JupyterHub's configuration, out of the settings of this facility; `templates/jupyterhub_config.py` calls it."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Any

from oauthenticator import oauth2

from farmlet.parts.notebooks.hub.claim import Claim
from farmlet.parts.notebooks.hub.docker import Container
from farmlet.parts.notebooks.hub.entrance import ADMINISTRATOR, Entrance
from farmlet.parts.notebooks.hub.own import Images
from farmlet.parts.notebooks.hub.server import Server
from farmlet.parts.notebooks.hub.settings import CLAIM, Settings
from farmlet.parts.notebooks.hub.sharing import SHARE, Sharing, forget
from farmlet.parts.notebooks.hub.unit import Unit
from farmlet.parts.notebooks.roster import Roster
from farmlet.web import theme

DATABASE = "hub.sqlite3"
STATE = "__Host-oauthenticator-state"
PAGES = Path(__file__).parent / "pages"
SESSION_DAYS = 0.5
LOOK_SECONDS = 5  # after which a session is compared with the roster again
START_SECONDS = 180
ANSWER_SECONDS = 60  # from its port's opening on
# what is deleted is gone: a trash nobody sees would keep a full home full
DELETE = ("--FileContentsManager.delete_to_trash=False", "--FileContentsManager.always_delete_dir=True")


def configure(c: Any, path: str) -> None:
    """Fill in JupyterHub's `c`."""
    settings = Settings.load(path)
    secrets = Path(os.environ["CREDENTIALS_DIRECTORY"])
    Server.settings = settings
    Server.own = Images(Path(settings.image).parent)
    Server.roster = Entrance.roster = Sharing.roster = Roster(settings.roster, settings.heard)
    configure_hub(c, settings, secrets)
    configure_pages(c, settings)
    configure_entrance(c, settings, (secrets / "client").read_text().strip())
    configure_servers(c, settings)
    configure_origins(c.JupyterHub, settings)


def configure_hub(c: Any, settings: Settings, secrets: Path) -> None:
    hub = c.JupyterHub
    hub.public_url = f"{settings.origin}/"
    hub.bind_url = f"http://127.0.0.1:{settings.proxy}/"
    hub.hub_bind_url = f"http://127.0.0.1:{settings.hub}"
    hub.db_url = f"sqlite:///{settings.state}/{DATABASE}"
    hub.cookie_secret_file = str(secrets / "cookie")
    hub.cookie_max_age_days = SESSION_DAYS
    # the proxy and the servers live on without the Hub, which finds them again
    hub.cleanup_servers = False
    # those with a name; how many run at a time is looked at when one starts
    hub.allow_named_servers = True
    hub.named_server_limit_per_user = lambda handler: max(1, Server.count(handler.current_user.name) - 1)
    hub.cleanup_proxy = False
    hub.load_roles = [ADMINISTRATOR]
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.api}"
    c.ConfigurableHTTPProxy.auth_token = (secrets / "proxy").read_text().strip()


def configure_origins(hub: Any, settings: Settings) -> None:
    """One origin for all servers, or one for each member. In the latter case what a server answers acts as nobody who visits it,
    so a member may let others in."""
    if not settings.sharing:
        forget(Path(settings.state, DATABASE))
        hub.extra_handlers = [(f"{CLAIM}/.*", Claim)]
        return
    hub.subdomain_host = settings.origin
    hub.cookie_host_prefix_enabled = True  # what a server sets for all of them is no session, and no log-in that is under way
    oauth2.STATE_COOKIE_NAME = STATE
    hub.extra_user_scopes = ["shares!user"]  # of their own servers
    hub.extra_handlers = [(SHARE, Sharing)]


def configure_pages(c: Any, settings: Settings) -> None:
    """JupyterHub's own pages in the facility's style."""
    style = theme.load_colours() + (PAGES / "hub.css").read_text()
    icon = b64encode(theme.load("icon.svg")).decode()
    c.JupyterHub.template_paths = [str(PAGES)]
    c.JupyterHub.template_vars = {
        "facility": settings.title,
        "sharing": settings.sharing,
        "style": style,
        "icon": f"data:image/svg+xml;base64,{icon}",
    }


def configure_entrance(c: Any, settings: Settings, secret: str) -> None:
    c.JupyterHub.authenticator_class = Entrance
    entrance, issuer = c.Entrance, settings.issuer.rstrip("/")
    Entrance.issuer = issuer
    entrance.client_id = settings.client
    entrance.client_secret = secret
    # the same at our own issuer and at an INDIGO IAM
    entrance.authorize_url = f"{issuer}/authorize"
    entrance.token_url = f"{issuer}/token"
    entrance.userdata_url = f"{issuer}/userinfo"
    entrance.oauth_callback_url = f"{settings.origin}/hub/oauth_callback"
    entrance.scope = ["openid", "profile"]
    entrance.auto_login = True
    entrance.any_allow_config = True  # who may come in is `check_allowed`'s
    entrance.auth_refresh_age = LOOK_SECONDS
    entrance.auth_refresh_strict = settings.sharing  # requests with a token too: servers ask so whom they let in
    entrance.enable_auth_state = False


def configure_servers(c: Any, settings: Settings) -> None:
    c.JupyterHub.spawner_class = Container if settings.spawner == "docker" else Unit
    container = c.Container
    container.network_name = settings.network
    container.use_internal_ip = True
    container.remove = True
    container.pull_policy = "Never"
    server = c.Server
    server.hub_connect_url = settings.origin
    server.env_keep = []  # nothing of the Hub's own
    server.cmd = ["/init", "--", "python3", f"{settings.inside}/start.py", "jupyterhub-singleuser"]
    server.default_url = "/lab"
    server.args = [*DELETE, *list_idle(settings.idle)]
    server.start_timeout = START_SECONDS
    server.http_timeout = ANSWER_SECONDS
    server.poll_interval = LOOK_SECONDS


def list_idle(seconds: int) -> list[str]:
    """Options of the server: it ends when nothing runs and nobody looks; kernels before, unless they work or are looked at."""
    names = (
        "MappingKernelManager.cull_idle_timeout",
        "TerminalManager.cull_inactive_timeout",
        "ServerApp.shutdown_no_activity_timeout",
    )
    return [f"--{name}={seconds}" for name in names] if seconds else []
