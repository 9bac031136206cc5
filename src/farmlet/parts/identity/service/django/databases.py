"""Django's description of the database: a file of SQLite, or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farmlet.errors import InputError
from farmlet.facility.places import SYSTEM_CA

POSTGRESQL = "postgresql://"
NAMES = {"dbname": "NAME", "user": "USER", "host": "HOST", "port": "PORT"}


# of SQLite: whether a commit waits for the disk, or leaves that to the next one that does
DURABLE, DEFERRED = "PRAGMA synchronous=FULL;", "PRAGMA synchronous=NORMAL;"
# of PostgreSQL: the same, where its administrators have chosen otherwise
COMMIT = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"


def describe(database: str, passfile: Path | None) -> dict[str, Any]:
    """An entry of Django's DATABASES for a path or a `postgresql://` URL. Raises InputError."""
    return _postgresql(database, passfile) if database.startswith(POSTGRESQL) else _sqlite(database)


def _sqlite(path: str) -> dict[str, Any]:
    # FULL: a decision that was answered is on disk, whatever happens to the machine
    # IMMEDIATE: a transaction that will write takes the lock first, so it waits instead of failing half-way
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": f"PRAGMA journal_mode=WAL; {DURABLE} PRAGMA foreign_keys=ON;",
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
        options = {"sslmode": "verify-full", "sslrootcert": SYSTEM_CA, **options}
    if passfile is not None:
        options["passfile"] = str(passfile)
    return {
        "ENGINE": "django.db.backends.postgresql",
        **found,
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,  # the server may have been restarted since the last request
        "OPTIONS": {"connect_timeout": 10, **options},
    }


def harden(connection: Any, **_: Any) -> None:
    """A receiver of Django's `connection_created`: PostgreSQL too answers after its log is on disk."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(COMMIT)


@contextmanager
def deferred() -> Iterator[None]:
    """Do not wait for the disk at the commits in here, on SQLite: they are there with the next commit elsewhere, or soon.

    Within a transaction it changes nothing. For what happens all the time and decides nothing: see `concepts/security.md`.
    """
    from django.db import connection

    connection.ensure_connection()
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    connection.connection.execute(DEFERRED)
    try:
        yield
    finally:
        connection.connection.execute(DURABLE)
