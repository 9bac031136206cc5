"""Every path of the service."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from farmlet.parts.identity.service.views import device, introspection, metadata, pages, revocation, scim, token

urlpatterns = [
    path(".well-known/openid-configuration", metadata.show_metadata),
    path(".well-known/oauth-authorization-server", metadata.show_metadata),
    path("jwks", metadata.show_keys, name="jwks"),
    path("userinfo", metadata.show_member, name="userinfo"),
    path("token/", token.TokenView.as_view(), name="token"),
    path("device-authorization/", token.DeviceAuthorizationView.as_view(), name="device-authorization"),
    path("revoke", revocation.RevocationView.as_view(), name="revoke"),
    path("introspect", introspection.IntrospectionView.as_view(), name="introspect"),
    path("device/", device.decide, name="device"),
    path("device/done/", device.show_done, name="device-done"),
    path("", pages.show_home, name="home"),
    path("login/", pages.Login.as_view(), name="login"),
    path("logout/", LogoutView.as_view(template_name="identity/logout.html"), name="logout"),
    path("join/<str:secret>/", pages.join, name="join"),
    path("style.css", pages.show_style, name="style"),
    path("scim/v2/Users", scim.list_users, name="scim-users"),
    path("scim/v2/Users/<str:sub>", scim.show_user, name="scim-user"),
    path("scim/v2/changes", scim.follow, name="scim-changes"),
]

handler400 = pages.show_error(400, "That request could not be understood.")
handler403 = pages.show_error(403, "You may not do that.")
handler404 = pages.show_error(404, "There is no such page.")
handler500 = pages.show_error(500, "Something went wrong on our side.")
