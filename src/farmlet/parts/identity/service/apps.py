"""The Django app `identity`."""

# mypy: allow-subclassing-any

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth.signals import user_logged_in

from farmlet.parts.identity.service.keys import Ring
from farmlet.parts.identity.service.project import APP, Provider


class IdentityConfig(AppConfig):
    name = APP
    label = "identity"
    provider: Provider

    def ready(self) -> None:
        from farmlet.parts.identity.service.entry import stamp  # models exist only now

        user_logged_in.connect(stamp)
        configuration = settings.FARMLET
        self.provider = Provider(configuration, Ring(configuration.keys, configuration.algorithm))
