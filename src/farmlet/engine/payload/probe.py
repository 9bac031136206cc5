"""Runs ON a node (`python3 -c`, standard library only): says what differs from what is wanted.

Reads {"resources": [spec…]} as JSON on standard input, writes {"findings": {index: reason}, "keys": {path: public key}}.
One process, one round trip, whatever the number of resources. It changes nothing.
"""

import datetime
import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
import sys
from typing import Any

STAMPS = os.environ.get("FARMLET_STAMPS", "/var/lib/farmlet/stamps.json")


def output(*command: str) -> str:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def stamps() -> "dict[str, str]":
    try:
        with open(STAMPS) as handle:
            found = json.load(handle)
            return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


class Probe:
    """One method per kind of resource: None when it is as wanted, else the reason in a few words."""

    def __init__(self, specs: "list[dict[str, Any]]") -> None:
        self.stamps = stamps()
        self.keys = {}  # type: dict[str, str]
        self.installed = self._packages() if any(spec["kind"] == "Packages" for spec in specs) else set()
        self.units = self._units([spec["name"] for spec in specs if spec["kind"] == "Unit"])

    def _packages(self) -> "set[str]":
        rows = output("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${binary:Package}\n").splitlines()
        return {row.split()[1].split(":")[0] for row in rows if row.startswith("ii")}

    def _units(self, names: "list[str]") -> "dict[str, dict[str, str]]":
        if not names:
            return {}
        fields = ("Id", "ActiveState", "UnitFileState", "Type", "Result")
        text = output("systemctl", "show", *["-p" + field for field in fields], *names)
        blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
        return dict(zip(names, [block for block in blocks if block]))

    def packages(self, spec: "dict[str, Any]") -> "str | None":
        missing = [name for name in spec["names"] if name not in self.installed]
        return "not installed: " + " ".join(missing) if missing else None

    def environment(self, spec: "dict[str, Any]") -> "str | None":
        try:
            with open(spec["path"] + "/.requirements") as handle:
                found = handle.read().strip()
        except OSError:
            return "not there"
        if not os.path.exists(spec["path"] + "/bin/python"):
            return "its python is gone"
        return None if found == spec["digest"] else "other requirements"

    def farmlet(self, spec: "dict[str, Any]") -> "str | None":
        try:
            with open(spec["path"] + "/.farmlet") as handle:
                return None if handle.read().strip() == spec["wheel"] else "another version"
        except OSError:
            return "not there"

    def account(self, spec: "dict[str, Any]") -> "str | None":
        try:
            found = pwd.getpwnam(spec["name"])
        except KeyError:
            return "not there"
        if (found.pw_dir, found.pw_shell) != (spec["home"], spec["shell"]):
            return "other home or shell"
        lacking = [name for name in spec["groups"] if spec["name"] not in self._members(name)]
        return "not in " + ", ".join(lacking) if lacking else None

    @staticmethod
    def _members(name: str) -> "list[str]":
        try:
            return grp.getgrnam(name).gr_mem
        except KeyError:
            return []

    def _attributes(self, path: str, spec: "dict[str, Any]") -> "str | None":
        info = os.lstat(path)
        found = (stat.S_IMODE(info.st_mode), self._name(pwd.getpwuid, info.st_uid), self._name(grp.getgrgid, info.st_gid))
        wanted = (spec["mode"], spec["owner"], spec["group"])
        return None if found == wanted else "mode or owner is %04o %s:%s" % found

    @staticmethod
    def _name(look: Any, number: int) -> str:
        try:
            return str(look(number)[0])
        except KeyError:
            return str(number)

    def directory(self, spec: "dict[str, Any]") -> "str | None":
        return self._attributes(spec["path"], spec) if os.path.isdir(spec["path"]) else "not there"

    def file(self, spec: "dict[str, Any]") -> "str | None":
        if not os.path.isfile(spec["path"]):
            return "not there"
        with open(spec["path"], "rb") as handle:
            found = hashlib.sha256(handle.read()).hexdigest()
        return "content differs" if found != spec["sha256"] else self._attributes(spec["path"], spec)

    def absent(self, spec: "dict[str, Any]") -> "str | None":
        return "is there" if os.path.lexists(spec["path"]) else None

    def random(self, spec: "dict[str, Any]") -> "str | None":
        return self._attributes(spec["path"], spec) if os.path.isfile(spec["path"]) else "not there"

    def keypair(self, spec: "dict[str, Any]") -> "str | None":
        if not os.path.isfile(spec["path"]):
            return "not there"
        if not os.path.isfile(spec["path"] + ".pub"):
            return "its public half is not there"
        with open(spec["path"] + ".pub") as handle:
            self.keys[spec["path"]] = handle.read().strip()
        return self._attributes(spec["path"], {"mode": 0o600, "owner": spec["owner"], "group": self._group(spec["owner"])})

    @staticmethod
    def _group(owner: str) -> str:
        return grp.getgrgid(pwd.getpwnam(owner).pw_gid).gr_name

    def certificate(self, spec: "dict[str, Any]") -> "str | None":
        if not (os.path.isfile(spec["path"]) and os.path.isfile(spec["key"])):
            return "not there"
        # all names are compared: openssl's -checkhost would not see one too many
        fields = ("-enddate", "-ext", "subjectAltName,extendedKeyUsage,basicConstraints,nameConstraints", "-pubkey")
        text = output("openssl", "x509", "-in", spec["path"], "-noout", *fields)
        names = sorted(part.strip()[4:] for part in text.replace("\n", ",").split(",") if part.strip().startswith("DNS:"))
        if names != sorted(spec["names"]):
            return "is for other names"
        if ("TLS Web Client Authentication" in text, "CA:TRUE" in text) != (spec["client"], spec["signs"]):
            return "is for another use"
        if output("openssl", "pkey", "-in", spec["key"], "-pubout").strip() not in text:
            return "is for another key"
        end = text.split("notAfter=", 1)[1].split("\n", 1)[0]
        left = datetime.datetime.strptime(end, "%b %d %H:%M:%S %Y %Z") - datetime.datetime.utcnow()
        if left.days < spec["renew_days"]:
            return "ends in %d days" % left.days
        if not self._signed(spec["path"], spec["authority"]):
            return "is of another authority"
        return self._attributes(spec["key"], spec)

    @staticmethod
    def _signed(path: str, authority: str) -> bool:
        """Whether that very authority signed it, or its intermediate, which stands behind it: what else this node trusts
        does not count."""
        command = ["openssl", "verify", "-no-CApath", "-no-CAstore", "-partial_chain", "-CAfile", "/dev/stdin"]
        command += ["-untrusted", path, path]
        return subprocess.run(command, input=authority, capture_output=True, text=True).returncode == 0

    def command(self, spec: "dict[str, Any]") -> "str | None":
        if not spec["unless"]:
            return None if self.stamps.get(spec["stamp"]) == spec["fingerprint"] else "not done for this configuration"
        command = ["runuser", "-u", spec["user"], "--", "sh", "-c", spec["unless"]]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/").returncode == 0
        return None if done else "not done"

    def unit(self, spec: "dict[str, Any]") -> "str | None":
        found = self.units.get(spec["name"], {})
        state, enabled = found.get("ActiveState", "unknown"), found.get("UnitFileState", "")
        if not spec["running"]:
            return "is " + state if state == "active" else "is enabled" if enabled == "enabled" else None
        finished = found.get("Type") == "oneshot" and state == "inactive" and found.get("Result") == "success"
        if state not in ("active", "reloading", "activating") and not finished:
            return "is " + state
        if enabled not in ("enabled", "static", "enabled-runtime", "generated", "alias", "indirect"):
            return "is " + (enabled or "unknown")
        return None if self.stamps.get(spec["stamp"]) == spec["fingerprint"] else "runs with an older configuration"


def main() -> None:
    specs = json.loads(sys.stdin.read())["resources"]
    probe = Probe(specs)
    findings = {}
    for index, spec in enumerate(specs):
        try:
            reason = getattr(probe, spec["kind"].lower())(spec)
        except Exception as error:  # a broken node is a finding, not a crash
            reason = "cannot be read: %s" % error
        if reason:
            findings[index] = reason
    json.dump({"findings": findings, "keys": probe.keys}, sys.stdout)


main()
