"""OAuth 2 and OpenID Connect, as programs use them."""

from __future__ import annotations

from farmlet.parts.identity.service.oauth.grants import CODE, DEVICE_CODE, TOKEN_EXCHANGE
from farmlet.parts.identity.service.openapi.parts import (
    BEARER,
    CLIENT,
    FORM,
    JSON,
    TEXT,
    TEXTS,
    YES,
    Piece,
    answer,
    content,
    operation,
    parameter,
    record,
    refer,
)

GRANTS = [CODE, DEVICE_CODE, "refresh_token", "client_credentials", TOKEN_EXCHANGE]
REPEATED: Piece = {"oneOf": [TEXT, TEXTS]}
WHO = "client_id client_secret"
ASKED = "code redirect_uri code_verifier device_code refresh_token subject_token subject_token_type requested_token_type"
METADATA_URIS = "issuer token_endpoint jwks_uri"
METADATA_LISTS = "grant_types_supported scopes_supported"
CODES = "device_code user_code verification_uri verification_uri_complete"
PROGRAM_TEXTS = "client_id client_name token_endpoint_auth_method scope id_token_signed_response_alg"
PROGRAM_LISTS = "grant_types redirect_uris post_logout_redirect_uris audience"
REGISTERED_TEXTS = "client_id client_secret registration_access_token registration_client_uri scope"

SCHEMAS: dict[str, Piece] = {
    "Error": record("error", "error error_description farmlet_reason"),
    "Tokens": record(
        "access_token token_type expires_in scope",
        "access_token scope refresh_token id_token issued_token_type",
        "expires_in",
        token_type={"const": "Bearer"},
    ),
    "TokenRequest": record(
        "grant_type",
        f"{WHO} scope {ASKED}",
        grant_type={"type": "string", "enum": GRANTS},
        audience=REPEATED,
        resource=REPEATED,
    ),
    "DeviceRequest": record("", f"{WHO} scope", audience=REPEATED, resource=REPEATED),
    "Device": record(f"{CODES} expires_in interval", CODES, "expires_in interval"),
    "TokenQuestion": record("token", f"token token_type_hint {WHO}"),
    "Introspection": record("active", "iss sub username client_id scope", "exp iat", active=YES),
    "Userinfo": record("sub preferred_username", "sub preferred_username", lists="wlcg.groups"),
    "Metadata": record(f"{METADATA_URIS} {METADATA_LISTS}", METADATA_URIS, lists=METADATA_LISTS),
    "Keys": record("keys", keys={"type": "array", "items": record("kty kid alg use", "kty kid alg use")}),
    "Program": record("", PROGRAM_TEXTS, lists=PROGRAM_LISTS),
    "Registration": record(
        "client_id registration_access_token registration_client_uri grant_types scope",
        REGISTERED_TEXTS,
        lists="grant_types audience",
    ),
}

ERROR = refer("Error")
REFUSED = {400: answer("Refused", ERROR), 401: answer("No such client, or a wrong secret", ERROR), 413: answer("Too long", ERROR)}
DENIED = {401: answer("No good token"), 403: answer("Its scopes are too narrow")}
REJECTED = {400: answer("Cannot be registered", ERROR), 413: answer("Too long", ERROR)}
STRANGER = {401: answer("No such registration, or not its token", ERROR), 404: answer("No name of one", TEXT, "text/html")}
OFTEN = {429: answer("Too many came; later again", ERROR)}
PROGRAM = content(refer("Program"))
CLIENT_ID = parameter("client_id", "Of the registration", {"type": "string", "pattern": "^[-a-zA-Z0-9_]+$"}, place="path")


def form(name: str) -> Piece:
    """A form as a body."""
    return content(refer(name), FORM)


TOLD = {200: answer("Who it is", refer("Userinfo")), **DENIED}
METADATA = {"get": operation("What this issuer has, and where (RFC 8414)", {200: answer("Metadata", refer("Metadata"))})}
PATHS: dict[str, Piece] = {
    "/.well-known/openid-configuration": METADATA,
    "/.well-known/oauth-authorization-server": METADATA,
    "/jwks": {"get": operation("Keys (RFC 7517)", {200: answer("Public keys", refer("Keys"), "application/jwk-set+json")})},
    "/token/": {
        "post": operation(
            "Tokens by any grant (RFC 6749 §3.2)",
            {200: answer("Tokens", refer("Tokens")), **REFUSED},
            body=form("TokenRequest"),
            security=CLIENT,
        )
    },
    "/device-authorization/": {
        "post": operation(
            "A code for a device (RFC 8628)",
            {200: answer("Codes", refer("Device")), **REFUSED, **OFTEN},
            body=form("DeviceRequest"),
            security=CLIENT,
        )
    },
    "/introspect/": {
        "post": operation(
            "Whether a token holds (RFC 7662); for clients with a secret",
            {200: answer("What it says, if it holds", refer("Introspection")), **REFUSED},
            body=form("TokenQuestion"),
            security=CLIENT,
        )
    },
    "/revoke/": {
        "post": operation(
            "Take a token back (RFC 7009)", {200: answer("It is gone"), **REFUSED}, body=form("TokenQuestion"), security=CLIENT
        )
    },
    "/userinfo": {
        "get": operation("Who the holder of a token is", TOLD, security=BEARER),
        "post": operation("Who the holder of a token is", TOLD, security=BEARER),
    },
}
REGISTRATION: dict[str, Piece] = {
    "/register/": {
        "post": operation(
            "A program registers itself (RFC 7591)",
            {201: answer("Registered", refer("Registration")), **REJECTED, **OFTEN},
            body=PROGRAM,
        )
    }
}
REGISTERED: dict[str, Piece] = {
    "/register/{client_id}": {
        "parameters": [CLIENT_ID],
        "get": operation(
            "Read a registration (RFC 7592)",
            {200: answer("As it stands", refer("Registration")), **STRANGER},
            security=[{"registration": []}],
        ),
        "put": operation(
            "Replace a registration",
            {
                200: answer("As it stands now", refer("Registration")),
                **REJECTED,
                **STRANGER,
                429: answer("Too many changes", ERROR),
            },
            body=content(refer("Program"), JSON),
            security=[{"registration": []}],
        ),
        "delete": operation("End a registration", {204: answer("Gone"), **STRANGER}, security=[{"registration": []}]),
    }
}
