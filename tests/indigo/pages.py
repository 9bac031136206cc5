"""The pages of people, for who walks them without a browser: log-in, the device's consent, the policy's signature. §3, §9.

Nothing but cookies: no token against forged requests.
"""

from __future__ import annotations

import secrets
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indigo.server import Handler

HTML = "text/html;charset=UTF-8"


def find(handler: Handler) -> str:
    """Who is logged in; "" for nobody."""
    cookie = SimpleCookie(handler.headers.get("Cookie", "")).get("JSESSIONID")
    return handler.iam.sessions.get(cookie.value, "") if cookie else ""


def serve(handler: Handler, method: str) -> None:
    iam, path, form = handler.iam, handler.url.path, handler.form() | handler.query
    name = find(handler)
    if (method, path) == ("POST", "/login"):
        log_in(handler, form.get("username", ""), form.get("password", ""))
    elif not name:
        handler.lead(f"{iam.base}login")
    elif path == "/iam/aup/sign" and method == "POST":
        iam.sign(name)
        handler.lead(f"{iam.base}dashboard")
    elif name != "admin" and iam.has_to_sign(iam.find(name)):
        handler.lead(f"{iam.base}iam/aup/sign")
    elif path in ("/device", "/device/verify") and form.get("user_code"):
        ask(handler, name, form["user_code"])
    elif (method, path) == ("POST", "/device/approve"):
        decide(handler, name, form)
    else:
        handler.send(200, b"", HTML)


def log_in(handler: Handler, username: str, password: str) -> None:
    """Who is suspended is refused."""
    iam = handler.iam
    user = next((one for one in iam.users if one["userName"] == username), None)
    if password != "password" or (username != "admin" and not (user and user["active"])):
        handler.lead(f"{iam.base}login?error=failure")
        return
    cookie = secrets.token_hex(16)
    iam.sessions[cookie] = username
    handler.lead(f"{iam.base}dashboard", Set_Cookie=f"JSESSIONID={cookie}; Path=/; HttpOnly")


def ask(handler: Handler, name: str, user_code: str) -> None:
    """The page of consent; what was allowed until it is revoked is not asked again."""
    grants = handler.iam.grants
    consent = grants.waiting(user_code)
    if consent is None:
        handler.send(200, b"The user code is not known.", HTML)
    elif grants.is_remembered(consent, handler.iam.find(name)["id"]):
        grants.allow(user_code, name)
        handler.send(200, b"The device has been approved.", HTML)
    else:
        consent.shown = True
        handler.send(200, b"Do you allow it?", HTML)


def decide(handler: Handler, name: str, form: dict[str, str]) -> None:
    """Without the page before it, it fails."""
    grants = handler.iam.grants
    consent = grants.waiting(form.get("user_code", ""))
    if consent is None or not consent.shown:
        handler.send(400, b"", HTML)
    elif form.get("user_oauth_approval") == "true":
        grants.allow(consent.user_code, name, form.get("remember", "until-revoked") == "until-revoked")
        handler.send(200, b"The device has been approved.", HTML)
    else:
        handler.send(200, b"The device has not been approved.", HTML)
