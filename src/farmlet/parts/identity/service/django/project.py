"""Django, set up for one configuration. `start` is called once in a process, before anything touches a model."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.conf import settings

from farmlet.facility.rights import Table
from farmlet.parts.identity.service.django import databases
from farmlet.parts.identity.service.django.configuration import Configuration
from farmlet.parts.identity.service.keys.keys import Ring
from farmlet.runtime import audit
from farmlet.web import theme

SERVICE = "farmlet.parts.identity.service"
APP = f"{SERVICE}.django"
TEMPLATES = Path(__file__).parent.parent / "pages" / "templates"
# django-oauth-toolkit's models, which are ours; nothing else of it is used: no view, no server, no access tokens
MODELS = {
    "APPLICATION": "Client",
    "ACCESS_TOKEN": "AccessToken",
    "REFRESH_TOKEN": "RefreshToken",
    "ID_TOKEN": "IDToken",
    "GRANT": "Grant",
    "DEVICE_GRANT": "DeviceGrant",
}
SHORTEST = 12  # characters of a password
APPS = ("oauth2_provider", f"{APP}.apps.IdentityConfig")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"mask": {"()": f"{APP}.logs.Mask"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "filters": ["mask"]}},
    "root": {"handlers": ["stderr"], "level": logging.WARNING},
}


@dataclass(frozen=True)
class Provider:
    """What the service's code needs besides the database: configuration, rights, signing keys, the audit log."""

    configuration: Configuration
    keys: Ring

    @property
    def table(self) -> Table:
        return self.configuration.rights

    @property
    def issuer(self) -> str:
        return self.configuration.issuer

    def record(self, event: str, **details: Any) -> None:
        """Write to the audit log; `by` says who, by default the member it is about, else the client.

        A log that cannot be written stops what was to be logged (OSError, Broken).
        """
        by = {"by": details.get("member") or details.get("client") or "identity"}
        audit.append(self.configuration.audit, event, **by | details)


def start(configuration: Configuration, secret: str) -> Provider:
    """Configure Django and return the provider, which `provider()` gives from then on."""
    settings.configure(**build(configuration, secret))
    django.setup()
    return provider()


def provider() -> Provider:
    """The provider of this process."""
    found = apps.get_app_config("identity").provider
    assert isinstance(found, Provider)
    return found


def build(configuration: Configuration, secret: str) -> dict[str, Any]:
    """Django's settings for `configuration`."""
    return {
        "FARMLET": configuration,
        "SECRET_KEY": secret,
        "DEBUG": False,
        "ALLOWED_HOSTS": [configuration.host],
        "INSTALLED_APPS": [*(f"django.contrib.{name}" for name in ("contenttypes", "auth", "sessions")), *APPS],
        "ROOT_URLCONF": f"{APP}.urls",
        "USE_TZ": True,
        "TIME_ZONE": "UTC",  # what the pages say they show; Django's default is America/Chicago
        "USE_I18N": False,
        "LANGUAGE_CODE": "en-gb",
        "APPEND_SLASH": False,
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "DATABASES": {"default": databases.describe(configuration.database, configuration.passfile)},
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [TEMPLATES, theme.TEMPLATES],
                "OPTIONS": {
                    "context_processors": ["django.template.context_processors.request", f"{SERVICE}.pages.pages.describe"]
                },
            }
        ],
        "LOGGING": LOGGING,
        **_members(configuration),
        **_security(configuration),
        **{f"OAUTH2_PROVIDER_{name}_MODEL": f"identity.{model}" for name, model in MODELS.items()},
        "OAUTH2_PROVIDER": {"CLIENT_SECRET_HASHER": "farmlet_random"},
    }


def _members(configuration: Configuration) -> dict[str, Any]:
    validation = "django.contrib.auth.password_validation"
    return {
        "AUTH_USER_MODEL": "identity.Member",
        "AUTHENTICATION_BACKENDS": [f"{SERVICE}.login.password.Backend"],
        "PASSWORD_HASHERS": ["django.contrib.auth.hashers.ScryptPasswordHasher", f"{SERVICE}.clients.hashers.RandomSecretHasher"],
        "AUTH_PASSWORD_VALIDATORS": [
            {"NAME": f"{validation}.MinimumLengthValidator", "OPTIONS": {"min_length": SHORTEST}},
            {"NAME": f"{validation}.CommonPasswordValidator"},
            {"NAME": f"{validation}.UserAttributeSimilarityValidator", "OPTIONS": {"user_attributes": ["name", "email"]}},
        ],
        "LOGIN_URL": "/login/",
        "LOGIN_REDIRECT_URL": "/",
        "SESSION_COOKIE_AGE": configuration.lifetimes.session,
    }


def _security(configuration: Configuration) -> dict[str, Any]:
    # the prefix makes browsers refuse the cookie from any other host or over plain http
    prefix = "__Host-" if configuration.secure else ""
    return {
        "MIDDLEWARE": [
            "django.middleware.security.SecurityMiddleware",
            "farmlet.web.headers.protect",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
        "SECURE_HSTS_SECONDS": 31536000 if configuration.secure else 0,
        "SECURE_REFERRER_POLICY": "same-origin",
        "CSRF_FAILURE_VIEW": f"{SERVICE}.pages.pages.refuse",
        "SESSION_COOKIE_NAME": f"{prefix}farmlet",
        "SESSION_COOKIE_SECURE": configuration.secure,
        "CSRF_COOKIE_NAME": f"{prefix}csrf",
        "CSRF_COOKIE_SECURE": configuration.secure,
        "CSRF_COOKIE_HTTPONLY": True,
        "DATA_UPLOAD_MAX_MEMORY_SIZE": 1 << 18,
    }
