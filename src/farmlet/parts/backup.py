"""How what a role keeps is saved and brought back. The role says how; what saves goes by that and knows no part."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

# by the program's own user, so that no file of root's is left beside the database; SQLite's pages as one transaction sees them
SERIALIZE = "import sqlite3, sys; sys.stdout.buffer.write(sqlite3.connect(sys.argv[1]).serialize())"


@dataclass(frozen=True)
class Backup:
    """Paths to copy, and root shell commands around that; all may be repeated, and none waits for anybody.

    To save: `quiesce` keeps the role from writing, `dump` writes into the folder `$FARMLET_DUMP`, which is this role's and empty,
    what a copy of files in use would get wrong; `copy` are the paths that are saved with all that lies below, but for those that
    match a pattern of `omit` (shell patterns of whole paths); `resume` undoes `quiesce`, whatever happened in between.

    To bring back, while the role's units do not run: the paths are put where they were, with owners, modes, ACLs and extended
    attributes, then `restore` takes what `dump` wrote out of `$FARMLET_DUMP`.
    """

    copy: tuple[str, ...] = ()
    omit: tuple[str, ...] = ()
    quiesce: str = ""
    dump: str = ""
    resume: str = ""
    restore: str = ""


def keep_database(database: str, *copy: str) -> Backup:
    """For `copy`, where SQLite has the file `database` at one place: it goes on while it is saved. It may be missing."""
    path, dump = shlex.quote(database), f'"$FARMLET_DUMP"/{shlex.quote(PurePosixPath(database).name)}'
    program = f'runuser -u "$(stat -c %U {path})" -- python3 -c {shlex.quote(SERIALIZE)} {path}'
    return Backup(
        copy=copy,
        omit=(database, f"{database}-*"),
        dump=f"[ ! -e {path} ] || (umask 077; {program} > {dump})",
        restore=f"[ ! -e {dump} ] || {{ rm -f {path}-wal {path}-shm && cp {dump} {path} && chmod 0600 {path} "
        f'&& chown --reference="$(dirname {path})" {path}; }}',
    )
