"""The application for gunicorn: `farmlet.parts.identity.service.django.wsgi:application`.

The configuration's path comes from the environment variable FARMLET_IDENTITY_CONFIG.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farmlet.errors import InputError

VARIABLE = "FARMLET_IDENTITY_CONFIG"


def build() -> Callable[..., Any]:
    """The WSGI application for the configuration the environment names. Raises InputError."""
    from farmlet.parts.identity.service.django.configuration import load_configuration
    from farmlet.parts.identity.service.django.project import start

    if VARIABLE not in os.environ:
        raise InputError("environment", f"{VARIABLE} is not set", "it names the service's JSON configuration")
    configuration = load_configuration(Path(os.environ[VARIABLE]))
    start(configuration, configuration.secret_key_file.read_text().strip())
    from farmlet.parts.identity.service.django.handlers import Front
    from farmlet.parts.identity.service.django.logs import Mask

    logging.getLogger("gunicorn.error").addFilter(Mask())  # it names the path of a request that failed

    return Front()


def __getattr__(name: str) -> Any:
    # gunicorn takes `application` from the module: it is built then, not when the module is imported
    if name == "application":
        globals()[name] = build()
        return globals()[name]
    raise AttributeError(name)
