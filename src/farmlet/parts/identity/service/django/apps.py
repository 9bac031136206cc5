"""The Django app `identity`."""

# mypy: allow-subclassing-any

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.db.backends.signals import connection_created

from farmlet.parts.identity.service.django.databases import harden
from farmlet.parts.identity.service.django.project import APP, Provider
from farmlet.parts.identity.service.keys.keys import Ring


class IdentityConfig(AppConfig):
    name = APP
    label = "identity"
    provider: Provider

    def ready(self) -> None:
        from farmlet.parts.identity.service.login.password import stamp  # models exist only now

        user_logged_in.connect(stamp)
        connection_created.connect(harden)
        configuration = settings.FARMLET
        self.provider = Provider(
            configuration, Ring(configuration.keys, configuration.algorithm, configuration.lifetimes.published)
        )
