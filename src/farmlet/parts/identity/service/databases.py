"""Django's description of the database: a file of SQLite, or PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farmlet.errors import InputError

POSTGRESQL = "postgresql://"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
NAMES = {"dbname": "NAME", "user": "USER", "host": "HOST", "port": "PORT"}


def describe(database: str, passfile: Path | None) -> dict[str, Any]:
    """An entry of Django's DATABASES for a path or a `postgresql://` URL. Raises InputError."""
    return _postgresql(database, passfile) if database.startswith(POSTGRESQL) else _sqlite(database)


def _sqlite(path: str) -> dict[str, Any]:
    # IMMEDIATE: a transaction that will write takes the lock first, so it waits instead of failing half-way
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
        },
    }


def _postgresql(url: str, passfile: Path | None) -> dict[str, Any]:
    # only who uses PostgreSQL pays for its library
    from psycopg import Error
    from psycopg.conninfo import conninfo_to_dict

    try:
        options = conninfo_to_dict(url)
    except Error as error:
        raise InputError("database", f"not a URL of PostgreSQL: {error}".strip()) from error
    found = {name: str(options.pop(key)) for key, name in NAMES.items() if key in options}
    if not found.get("HOST", "/").startswith("/"):
        # who answers in the database's place would see members and hand out rights
        options = {"sslmode": "verify-full", "sslrootcert": AUTHORITIES, **options}
    if passfile is not None:
        options["passfile"] = str(passfile)
    return {
        "ENGINE": "django.db.backends.postgresql",
        **found,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,  # the server may have been restarted since the last request
        "OPTIONS": {"connect_timeout": 10, **options},
    }
