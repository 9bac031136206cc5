"""Makes a Grafana have our folder, data source and dashboards, reads each back, and looks who may log in how.

python -m farmlet.parts.monitoring.grafana.program CONFIG --token FILE --reader FILE --state FILE [--look]

`--look`: change nothing, say what would be and exit 3 if anything. Standard library only; what went wrong stands in the state,
for the check: a Grafana that is away fails no unit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.monitoring.grafana.api import Grafana, Refused, Unusable
from farmlet.parts.monitoring.grafana.things import Found, Source, Thing, differ, list_things, weighs
from farmlet.runtime import files
from farmlet.runtime.issuer.conceal import conceal

SECONDS = 120  # for everything, however slowly it answers
OLDEST = (9, 1)  # the first with tokens of service accounts and data sources by uid (Grafana's docs)


class Run:
    """One look at everything. `kept`: what the last run left of each thing, by uid; `faults`, `notes`, `changed`: in words."""

    def __init__(self, grafana: Grafana, kept: Mapping[str, Any], look: bool) -> None:
        self.grafana, self.look = grafana, look
        self.kept = dict(kept)
        self.faults, self.notes, self.changed = list[str](), list[str](), list[str]()
        self.version, self.count = "", 0

    def go(self, config: Mapping[str, Any], reader: str) -> None:
        try:
            self.find_version()
            for thing in list_things(config, reader):
                self.ensure(thing)
            self.find_admin()
            self.find_login(config["login"])
        except FarmletError as error:
            self.faults.append(tell(error))
        except (AttributeError, KeyError, TypeError):
            self.faults.append(f"{self.grafana.url} answers in no way that Grafana's documentation knows")

    def find_version(self) -> None:
        health = self.grafana.ask("GET", "/api/health")
        self.version = conceal(str(health.get("version", "")))
        found = re.match(r"(\d+)\.(\d+)", self.version)
        if not found:
            self.notes.append("it does not tell its version")
        elif (int(found[1]), int(found[2])) < OLDEST:
            hint = f"{OLDEST[0]}.{OLDEST[1]} is the oldest that is known to have what is asked of it"
            raise Unusable(self.grafana.url, f"is Grafana {self.version}, too old", hint)

    def ensure(self, thing: Thing) -> None:
        """One thing is there as it should be. What Grafana refuses of one holds nothing else up, but for the folder."""
        try:
            self._ensure(thing)
        except Refused as refused:
            # with its reason: the next one may well be put back
            self.kept.pop(thing.key, None)
            if thing.name == "the folder":
                raise
            self.faults.append(f"{thing.name}: {tell(refused)}")

    def _ensure(self, thing: Thing) -> None:
        there, known = thing.read(self.grafana), self.kept.get(thing.key)
        seen = see(thing, there)
        if there is None or seen != known:
            why = compare(there, seen, known)
            self.changed.append(f"{thing.name} {why}: {'would be ' if self.look else ''}{'put back' if there else 'made'}")
            if self.look:
                return
            thing.write(self.grafana, there)
            there = thing.read(self.grafana)
            seen = see(thing, there)
        if there is None:
            raise Refused(thing.name, "was taken, and is not there")
        self.kept[thing.key] = seen
        self.count += 1
        if weighty := [path for path in seen[2] if weighs(path)]:
            self.faults.append(f"{thing.name} was taken, and shows otherwise: {shorten(weighty)}")
        elif seen[2]:
            self.notes.append(f"{thing.name} is kept otherwise in {shorten(seen[2])}")
        if isinstance(thing, Source):
            self.try_source(thing)

    def try_source(self, source: Source) -> None:
        """Whether Grafana itself reads our numbers. It answers with an error's status where it cannot."""
        try:
            found = self.grafana.find(f"{source.key}/health")
        except Refused as refused:
            self.faults.append(f"it cannot read {source.ours['url']}: {refused.what}")
            return
        if found is None:
            self.notes.append("it does not try data sources")
        elif found.get("status") != "OK":
            self.faults.append(f"it cannot read {source.ours['url']}: {conceal(str(found.get('message')))}")

    def find_admin(self) -> None:
        """An admin who needs no issuer is left. Nobody is ever removed or demoted by us."""
        try:
            users = self.grafana.ask("GET", "/api/org/users")
        except Refused as refused:
            self.notes.append(f"whether an admin of its own is left cannot be seen: {refused.what}")
            return
        own = [conceal(str(one.get("login"))) for one in users if one.get("role") == "Admin" and not one.get("authLabels")]
        if own:
            self.notes.append(f"its own admin: {', '.join(own[:3])}")
        else:
            self.faults.append("no admin of its own is left: nobody gets in when the issuer is away; make one by hand")

    def find_login(self, login: Mapping[str, Any]) -> None:
        """What holds of its log-in, for what is in its database hides grafana.ini."""
        try:
            found = self.grafana.find("/api/v1/sso-settings/generic_oauth")
        except Refused:
            found = None
        if found is None:
            self.notes.append("how people log in cannot be seen with this token")
            return
        settings = found.get("settings", {})
        if not settings.get("enabled"):
            self.notes.append("members cannot log in: paste /etc/farmlet/grafana.ini")
        elif wrong := sorted(differ(login, settings)):
            place = "its database, which hides grafana.ini" if found.get("source") == "database" else "grafana.ini"
            self.faults.append(f"people log in otherwise than the facility file says: {', '.join(wrong)} in {place}")


def see(thing: Thing, there: Found | None) -> list[Any]:
    """What is remembered of a thing: ours, the version that shows whether somebody else saved it, and where it differs."""
    if there is None:
        return []
    return [thing.digest, there.get("version"), sorted(differ(thing.ours, there))]


def compare(there: Found | None, seen: list[Any], known: list[Any] | None) -> str:
    if there is None:
        return "was not there"
    before = known[2] if known else []
    if paths := [path for path in seen[2] if path not in before]:
        return f"differed in {shorten(paths)}"
    if known is None:
        return "was not known to be ours"
    return "is new here" if seen[0] != known[0] else "was saved by somebody else"


def shorten(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if paths[3:] else "")


def tell(error: FarmletError) -> str:
    return f"{error.where} {error.what}" + (f": {error.hint}" if error.hint else "")


def load_state(path: Path) -> dict[str, Any]:
    """What the last run left; without it all is written once more."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def run(config: Path, token: Path, reader: Path, state: Path, look: bool) -> Run:
    text, before = config.read_text(), load_state(state)
    parsed = json.loads(text)
    made = Run(Grafana(parsed["url"], token.read_text().strip(), parsed.get("user", "")), before.get("kept", {}), look)
    made.go(parsed, reader.read_text().strip())
    if not look:
        now = time.time()
        found = {"at": now, "config": hashlib.sha256(text.encode()).hexdigest(), "version": made.version, "count": made.count}
        found |= {"faults": made.faults, "notes": made.notes, "kept": made.kept}
        found["last"] = {"at": now, "what": made.changed} if made.changed else before.get("last")
        files.write(state, json.dumps(found, indent=1).encode(), 0o644)
    return made


def give_up(*_: object) -> None:
    raise Unusable("all of it", f"took longer than {SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(description="Folder, data source and dashboards of the facility in a Grafana.")
    parser.add_argument("config", type=Path)
    for name in ("token", "reader", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--look", action="store_true", help="change nothing; exit 3 if something would be")
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    made = run(options.config, options.token, options.reader, options.state, options.look)
    for line in (*made.changed, *made.faults):
        print(line)
    return 3 if options.look and made.changed else 0


if __name__ == "__main__":
    sys.exit(main())
