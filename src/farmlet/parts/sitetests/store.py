"""Jobs and results in SQLite. A job is written here before it goes to a site, so that none is lost and none goes twice."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from farmlet.parts.sitetests.result import PART, Result

SCHEMA = """
CREATE TABLE IF NOT EXISTS job (
    name TEXT PRIMARY KEY, site TEXT NOT NULL, tests TEXT NOT NULL, why TEXT NOT NULL, state TEXT NOT NULL,
    made REAL NOT NULL, submitted REAL NOT NULL DEFAULT 0, ended REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS job_open ON job (site) WHERE state <> 'done';
CREATE TABLE IF NOT EXISTS result (
    job TEXT NOT NULL, test TEXT NOT NULL, site TEXT NOT NULL, code INTEGER NOT NULL, text TEXT NOT NULL, at REAL NOT NULL,
    seconds REAL NOT NULL, host TEXT NOT NULL, output TEXT NOT NULL, dropped INTEGER NOT NULL, numbers TEXT NOT NULL,
    stored REAL NOT NULL, PRIMARY KEY (job, test)
) STRICT;
CREATE INDEX IF NOT EXISTS result_times ON result (site, test, stored, code);
CREATE TABLE IF NOT EXISTS maintenance (site TEXT NOT NULL, reason TEXT NOT NULL, since REAL NOT NULL, until REAL) STRICT;
CREATE TABLE IF NOT EXISTS change (
    site TEXT NOT NULL, at REAL NOT NULL, ok INTEGER NOT NULL, by_hand INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS change_site ON change (site, at);
"""
# wanted: written down. queued: the site has it. ended: its results are here, its files still there. done: all gone
# what is worse has the higher number; nobody knows is better than a warning
WORST = "CASE code WHEN 2 THEN 3 WHEN 1 THEN 2 WHEN 3 THEN 1 ELSE 0 END"
CODES = (0, 3, 1, 2)  # by that number
FIELDS = ("test", "code", "text", "at", "seconds", "host", "output", "dropped")  # of a result, as it is stored
WANTED, QUEUED, ENDED, DONE = "wanted", "queued", "ended", "done"


@dataclass(frozen=True)
class Job:
    """One job at a site that runs `tests`; `why`: schedule or demand. Times in seconds since 1970, 0 for not yet."""

    name: str
    site: str
    tests: tuple[str, ...]
    why: str
    state: str
    made: float
    submitted: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class Closed:
    """A gate that an admin closes, from `since` until `until`; None for no end."""

    site: str
    reason: str
    since: float
    until: float | None


@dataclass(frozen=True)
class Change:
    """A gate opened or closed."""

    site: str
    at: float
    ok: bool
    by_hand: bool
    reason: str


class Store:
    """`path`: of the database; several processes of one user may use it, others `readonly`, while one of those does. May raise
    sqlite3.Error."""

    def __init__(self, path: Path, readonly: bool = False) -> None:
        where = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rwc'}"
        self._base = sqlite3.connect(where, timeout=10, isolation_level=None, uri=True)
        self._base.row_factory = sqlite3.Row
        if not readonly:
            self._make(path.parent)

    def _make(self, folder: Path) -> None:
        """One at a time: of two that give a new file its journal SQLite refuses one, and lets it wait for nothing."""
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._base.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + SCHEMA)
        finally:
            os.close(lock)

    def close(self) -> None:
        self._base.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def add(self, job: Job) -> None:
        values = (job.name, job.site, json.dumps(job.tests), job.why, job.state, job.made)
        self._base.execute("INSERT INTO job (name, site, tests, why, state, made) VALUES (?, ?, ?, ?, ?, ?)", values)

    def mark_queued(self, names: Iterable[str], now: float) -> None:
        sql = "UPDATE job SET state = 'queued', submitted = ? WHERE name = ? AND state = 'wanted'"
        with self._transaction():
            self._base.executemany(sql, [(now, name) for name in names])

    def mark_done(self, names: Iterable[str]) -> None:
        with self._transaction():
            self._base.executemany("UPDATE job SET state = 'done' WHERE name = ?", [(name,) for name in names])

    def end(self, ended: Iterable[tuple[Job, Sequence[Result]]], now: float) -> None:
        """Keep what jobs found, once: all of it, with the jobs' ends, or nothing."""
        columns = (*FIELDS, "numbers", "job", "site", "stored")
        insert = f"INSERT INTO result ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"
        sql = "UPDATE job SET state = 'ended', ended = ? WHERE name = ? AND state IN ('wanted', 'queued')"
        with self._transaction():
            for job, results in ended:
                if self._base.execute(sql, (now, job.name)).rowcount:
                    whose = {"job": job.name, "site": job.site, "stored": now}
                    rows = [{name: getattr(one, name) for name in FIELDS} | whose for one in results]
                    for row, one in zip(rows, results, strict=True):
                        row["numbers"] = json.dumps(one.numbers)
                    self._base.executemany(insert, rows)

    def find_busy(self) -> dict[str, bool]:
        """The sites with jobs that are not done, and whether one of those has not gone there yet."""
        sql = "SELECT site, max(state = 'wanted') AS wanted FROM job WHERE state <> 'done' GROUP BY site ORDER BY site"
        return {row["site"]: bool(row["wanted"]) for row in self._base.execute(sql)}

    def find_open(self, site: str) -> list[Job]:
        rows = self._base.execute("SELECT * FROM job WHERE site = ? AND state <> 'done' ORDER BY made", (site,))
        return [_job(row) for row in rows]

    def find_job(self, name: str) -> Job | None:
        row = self._base.execute("SELECT * FROM job WHERE name = ?", (name,)).fetchone()
        return _job(row) if row else None

    def find_begun(self) -> dict[tuple[str, str], float]:
        """When each test was last given to each site, by schedule or on demand."""
        rows = self._base.execute("SELECT site, tests, max(made) AS made FROM job GROUP BY site, tests")
        found = dict[tuple[str, str], float]()
        for row in rows:
            for test in json.loads(row["tests"]):
                key = (row["site"], test)
                found[key] = max(found.get(key, 0.0), row["made"])
        return found

    def find_results(self, site: str = "", test: str = "", job: str = "", last: int = 1) -> list[Result]:
        """The `last` results of each test at each site, the newest first; `site`, `test`, `job`: of that one only."""
        return [result for _, result in self.find_rows(site, test, job, last)]

    def find_rows(self, site: str = "", test: str = "", job: str = "", last: int = 1) -> list[tuple[str, Result]]:
        """The same, each with its site."""
        chosen = {"site": site, "test": test, "job": job}
        where = " AND ".join(["1", *(f"{column} = :{column}" for column, value in chosen.items() if value)])
        rank = "row_number() OVER (PARTITION BY site, test ORDER BY stored DESC)"
        sql = f"SELECT * FROM (SELECT *, {rank} AS rank FROM result WHERE {where}) WHERE rank <= :last ORDER BY site, test, rank"
        return [(row["site"], _result(row)) for row in self._base.execute(sql, chosen | {"last": last})]

    def find_worst(
        self, since: float, step: float, sites: Sequence[str], test: str = ""
    ) -> dict[tuple[str, str], dict[int, int]]:
        """By site and test: the worst code in each of the times of `step` seconds from `since` on, by its number."""
        found = dict[tuple[str, str], dict[int, int]]()
        sql = (
            f"SELECT test, CAST((stored - :since) / :step AS INTEGER) AS bucket, max({WORST}) AS worst FROM result "
            "WHERE site = :site AND stored >= :since AND :test IN ('', test) GROUP BY test, bucket"
        )
        for site in sites:
            for row in self._base.execute(sql, {"since": since, "step": step, "site": site, "test": test}):
                found.setdefault((site, row["test"]), {})[row["bucket"]] = CODES[row["worst"]]
        return found

    def find_run(self, site: str, test: str, begin: float | None = None, end: float | None = None) -> Result | None:
        """The worst result stored from `begin` to `end`, of those the last; without these the last of all."""
        order = "stored DESC" if begin is None or end is None else f"{WORST} DESC, stored DESC"
        sql = f"SELECT * FROM result WHERE site = ? AND test = ? AND stored BETWEEN ? AND ? ORDER BY {order} LIMIT 1"
        row = self._base.execute(sql, (site, test, (begin or 0.0) - 1e-5, (end or 1e12) + 1e-5)).fetchone()
        return _result(row) if row else None

    def find_runs(self, site: str, test: str, last: int) -> list[tuple[float, Result]]:
        """The `last` results, the newest first, each with when it was stored."""
        sql = "SELECT * FROM result WHERE site = ? AND test = ? ORDER BY stored DESC LIMIT ?"
        return [(row["stored"], _result(row)) for row in self._base.execute(sql, (site, test, last))]

    def find_cost(self, since: float, site: str = "") -> dict[str, tuple[int, float]]:
        """By site, how many jobs ended since then, and the seconds that their tests took; `site`: of that one only."""
        where = ("site = ?" if site else "? = ''") + " AND stored >= ?"  # not both in one, which would go by no index
        sql = f"SELECT site, count(DISTINCT job) AS jobs, sum(seconds) AS seconds FROM result WHERE {where} GROUP BY site"
        return {row["site"]: (row["jobs"], row["seconds"]) for row in self._base.execute(sql, (site, since))}

    def close_gate(self, closed: Closed) -> None:
        values = (closed.site, closed.reason, closed.since, closed.until)
        self._base.execute("INSERT INTO maintenance VALUES (?, ?, ?, ?)", values)

    def open_gate(self, site: str, now: float) -> None:
        """End what an admin closes of it, now or later."""
        with self._transaction():
            self._base.execute("DELETE FROM maintenance WHERE site = ? AND since > ?", (site, now))
            self._base.execute(
                "UPDATE maintenance SET until = ? WHERE site = ? AND (until IS NULL OR until > ?)", (now, site, now)
            )

    def find_closed(self, now: float) -> dict[str, Closed]:
        """The gates that admins keep closed now, by site."""
        return {one.site: one for one in reversed(self.find_closures(now)) if one.since <= now}

    def find_closures(self, now: float, site: str = "") -> list[Closed]:
        """Those closed now and later, the earliest first; `site`: its only."""
        where = "(until IS NULL OR until > ?) AND ? IN ('', site)"
        sql = f"SELECT site, reason, since, until FROM maintenance WHERE {where} ORDER BY since"
        return [Closed(*row) for row in self._base.execute(sql, (now, site))]

    def note_change(self, site: str, now: float, ok: bool, by_hand: bool, reason: str) -> None:
        self._base.execute("INSERT INTO change VALUES (?, ?, ?, ?, ?)", (site, now, ok, by_hand, reason))

    def find_changes(self, since: float, site: str = "") -> list[Change]:
        """When gates opened and closed, the newest first; `site`: of that one only."""
        sql = "SELECT site, at, ok, by_hand, reason FROM change WHERE at >= ? AND ? IN ('', site) ORDER BY at DESC LIMIT 1000"
        rows = self._base.execute(sql, (since, site))
        return [Change(row["site"], row["at"], bool(row["ok"]), bool(row["by_hand"]), row["reason"]) for row in rows]

    def count_closings(self, site: str, since: float) -> int:
        """How often tests closed its gate."""
        sql = "SELECT count(*) FROM change WHERE site = ? AND at >= ? AND NOT ok AND NOT by_hand"
        return int(self._base.execute(sql, (site, since)).fetchone()[0])

    def find_streaks(self) -> dict[tuple[str, str], float]:
        """By site and test, when the first of the failures was stored with which its results end."""
        passed = "SELECT max(stored) FROM result AS other WHERE other.site = one.site AND other.test = one.test AND code = 0"
        where = f"code = 2 AND stored > coalesce(({passed}), 0)"
        sql = f"SELECT site, test, min(stored) AS since FROM result AS one WHERE {where} GROUP BY site, test"
        return {(row["site"], row["test"]): row["since"] for row in self._base.execute(sql)}

    def prune(self, before: float) -> None:
        """Forget what ended before; the newest result of each test at each site stays, but for those of reports: a site names
        these as it likes."""
        newest = "SELECT max(stored) FROM result AS other WHERE other.site = result.site AND other.test = result.test"
        with self._transaction():
            self._base.execute(
                f"DELETE FROM result WHERE stored < ? AND (stored < ({newest}) OR instr(test, '{PART}'))", (before,)
            )
            self._base.execute("DELETE FROM change WHERE at < ?", (before,))
            self._base.execute("DELETE FROM maintenance WHERE until < ?", (before,))
            self._base.execute(
                "DELETE FROM job WHERE state = 'done' AND made < ? AND name NOT IN (SELECT job FROM result)", (before,)
            )


def _job(row: sqlite3.Row) -> Job:
    found = {name: row[name] for name in row.keys()}  # noqa: SIM118
    return Job(**found | {"tests": tuple(json.loads(row["tests"]))})


def _result(row: sqlite3.Row) -> Result:
    numbers = {label: (float(value), str(unit)) for label, (value, unit) in json.loads(row["numbers"]).items()}
    return Result(**{name: row[name] for name in FIELDS}, numbers=numbers)
