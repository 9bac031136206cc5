"""Runs ON a node (standard library only), beside an unpacked payload: puts files, directories, keys and certificates in place.

`place.py put GROUP`: all items of one group, in order. `place.py stamp NAME FINGERPRINT`: remember that a unit runs with,
or a step was done for, this configuration; `place.py forget NAME…`: the opposite, before anything is changed.
`place.py requests`: make missing keys and print certificate requests as JSON.
Whatever is written is written beside its target and renamed over it.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
STAMPS = "/var/lib/farmlet/stamps.json"


def write(path, data, mode, owner="root", group="root"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + ".farmlet-new"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    shutil.chown(temporary, owner, group)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def blob(name):
    with open(os.path.join(HERE, name), "rb") as handle:
        return handle.read()


def directory(item):
    os.makedirs(item["path"], exist_ok=True)
    shutil.chown(item["path"], item["owner"], item["group"])
    os.chmod(item["path"], item["mode"])


def file(item):
    write(item["path"], blob(item["blob"]), item["mode"], item["owner"], item["group"])


def absent(item):
    if os.path.isdir(item["path"]) and not os.path.islink(item["path"]):
        shutil.rmtree(item["path"])
    elif os.path.lexists(item["path"]):
        os.remove(item["path"])


def random(item):
    if not os.path.exists(item["path"]):
        write(item["path"], os.urandom(item["size"]).hex().encode(), item["mode"], item["owner"], item["group"])
    shutil.chown(item["path"], item["owner"], item["group"])
    os.chmod(item["path"], item["mode"])


def keypair(item):
    path, group = item["path"], pwd.getpwnam(item["owner"]).pw_gid
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if not os.path.exists(path):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", item["comment"], "-f", path]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    for name in (path, path + ".pub"):
        os.chown(name, pwd.getpwnam(item["owner"]).pw_uid, group)
    os.chmod(path, 0o600)


def certificate(item):
    write(item["path"], blob(item["blob"]), 0o644)
    shutil.chown(item["key"], item["owner"], item["group"])
    os.chmod(item["key"], item["mode"])


def request(item):
    """A certificate request for the key of `item`, which is made where it is missing. The key never leaves the node."""
    os.makedirs(os.path.dirname(item["key"]), exist_ok=True)
    if not os.path.exists(item["key"]):
        command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        key = subprocess.run(command, check=True, capture_output=True).stdout
        write(item["key"], key, 0o600)
    command = ["openssl", "req", "-new", "-key", item["key"], "-subj", "/CN=" + item["names"][0]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def stamps():
    try:
        with open(STAMPS) as handle:
            return json.load(handle)
    except (OSError, ValueError):
        return {}


def remember(values):
    write(STAMPS, json.dumps(values, indent=1).encode(), 0o600)


def main(verb, *rest):
    if verb == "put":
        for item in json.loads(blob("groups.json"))[int(rest[0])]:
            globals()[item["kind"].lower()](item)
    elif verb == "stamp":
        remember({**stamps(), rest[0]: rest[1]})
    elif verb == "forget":
        remember({name: value for name, value in stamps().items() if name not in rest})
    elif verb == "requests":
        json.dump([request(item) for item in json.loads(sys.stdin.read())], sys.stdout)


main(*sys.argv[1:])
