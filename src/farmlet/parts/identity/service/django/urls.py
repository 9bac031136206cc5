"""Every path of the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.urls import URLPattern, path, re_path
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from farmlet.parts.identity.service.clients import register
from farmlet.parts.identity.service.django.project import SERVICE, provider
from farmlet.parts.identity.service.login import logout
from farmlet.parts.identity.service.oauth import authorize, metadata, token
from farmlet.parts.identity.service.oauth.cors import open_to_pages
from farmlet.parts.identity.service.pages import device, pages
from farmlet.parts.identity.service.scim import access, feed
from farmlet.parts.identity.service.tokens import endpoints


def endpoint(route: str, show: Callable[..., Any], name: str) -> tuple[URLPattern, URLPattern]:
    """A route for programs: with and without the slash at its end, because programs have it written down either way."""
    return path(route.rstrip("/"), show), path(f"{route.rstrip('/')}/", show, name=name)


def late(name: str) -> Callable[..., Any]:
    """A view for programs that is imported when it is first asked for: with SCIM's models a start would take twice as long."""
    show: Callable[..., Any] = csrf_exempt(lambda request, **words: import_string(f"{SERVICE}.{name}")(request, **words))
    return show


# closed, there is no such place, and discovery does not name it; who registered before may still end that
REGISTRATION = endpoint("register/", register.register, "register") if provider().configuration.registration == "open" else ()

urlpatterns = [
    path(".well-known/openid-configuration", metadata.show_metadata),
    path(".well-known/oauth-authorization-server", metadata.show_metadata),
    path("openapi.json", late("openapi.document.show"), name="openapi"),
    path("jwks", metadata.show_keys, name="jwks"),
    path("userinfo", open_to_pages(metadata.show_member), name="userinfo"),
    *endpoint("authorize/", authorize.authorize, "authorize"),
    *endpoint("token/", open_to_pages(token.answer), "token"),
    *endpoint("device-authorization/", token.DeviceAuthorizationView.as_view(), "device-authorization"),
    *endpoint("revoke/", open_to_pages(endpoints.RevocationView.as_view()), "revoke"),
    *endpoint("introspect/", endpoints.IntrospectionView.as_view(), "introspect"),
    *endpoint("logout/", logout.leave, "logout"),
    *REGISTRATION,
    path("register/<slug:client_id>", register.manage, name="registration"),
    path("device/", device.decide, name="device"),
    path("device/done/", device.show_done, name="device-done"),
    path("", pages.show_home, name="home"),
    path("login/", pages.Login.as_view(), name="login"),
    path("join/<str:secret>/", pages.join, name="join"),
    path("style.css", pages.show_file("style.css"), name="style"),
    path("icon.svg", pages.show_file("icon.svg"), name="icon"),
    path("scim/v2/changes", feed.follow, name="scim-changes"),
    re_path(r"^scim/v2(?:/(?P<path>[\s\S]*))?$", late("scim.view.serve"), {"mount": access.OURS}),
    re_path(r"^scim(?:/(?P<path>[\s\S]*))?$", late("scim.view.serve"), {"mount": access.INDIGO}),
]

handler400 = pages.show_error(400, "That request could not be understood.")
handler403 = pages.show_error(403, "You may not do that.")
handler404 = pages.show_error(404, "There is no such page. The address may be mistyped or out of date.")
handler500 = pages.show_fault
