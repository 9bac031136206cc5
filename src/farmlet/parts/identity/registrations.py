"""What must be registered at an issuer that is not ours, so that the facility works with it. Our own has it from `up`."""

from __future__ import annotations

from dataclasses import dataclass

from farmlet.parts.identity.config import Section
from farmlet.parts.identity.deploy import DEVICE


@dataclass(frozen=True)
class Registration:
    """One OAuth client. `secret`: whether it is confidential; `redirects`: redirect URIs, none without a browser's flow;
    `DOMAIN` in one is the facility's.
    """

    name: str
    purpose: str
    grants: tuple[str, ...]
    scopes: tuple[str, ...]
    secret: bool = False
    redirects: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """What an administrator of an INDIGO IAM posts to `/iam/api/clients`. IAM makes the secret.

        A refresh token is used again: one that IAM replaces is dead at once, and an answer lost on its way costs a credential.
        """
        found: dict[str, object] = {
            "client_id": self.name,
            "client_name": f"Farmlet: {self.name}",
            "grant_types": [*self.grants],
            "scope": " ".join(self.scopes),
            "token_endpoint_auth_method": "client_secret_post" if self.secret else "none",
            "access_token_validity_seconds": 3600,
        }
        if self.redirects:
            found["redirect_uris"] = [*self.redirects]
        if self.secret:
            return found
        seconds = {"refresh_token_validity_seconds": 2592000, "device_code_validity_seconds": 600}
        return found | seconds | {"reuse_refresh_token": True, "clear_access_tokens_on_refresh": False}


# storage goes by groups there, so no storage scope is asked for; `wlcg` makes an INDIGO IAM write tokens of that profile
MEMBER = ("openid", "profile", "email", "offline_access", "wlcg", "wlcg.groups")
JOB = tuple(scope for scope in MEMBER if scope not in ("openid", "profile", "email"))

REGISTRATIONS = (
    Registration(
        Section.model_fields["client"].get_default(),
        "the accounts daemon reads who is a member (`identity.client`)",
        ("client_credentials",),
        ("scim:read",),
        secret=True,
    ),
    Registration("farmlet", "members' own machines: SSH certificates (audience `ssh`), data", DEVICE, MEMBER),
    Registration("batch", "jobs and sessions, by consent, kept fresh on the access point (`tokens.client`)", DEVICE, JOB),
    Registration(
        "farmlet-notebooks",
        "members log in to notebooks (`notebooks.client`)",
        ("authorization_code",),
        ("openid", "profile"),
        secret=True,
        redirects=("https://notebooks.DOMAIN/hub/oauth_callback",),
    ),
)
