"""Uploads that fail: no half file that looks whole, and nothing that lay there before is lost."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest
from element import DATA
from house import House
from lure import HALF, TLS
from sandbox import Sandbox, until
from test_3_traps import REFUSED

from host import docker

pytestmark = [
    pytest.mark.facility,
    pytest.mark.disturbs("storage"),
    pytest.mark.usefixtures("running"),
    pytest.mark.timeout(600),
]
SMALL = 8 << 20  # bytes of the disk that fills up


@pytest.fixture(scope="module")
def house(sandbox: Sandbox, running: Sandbox) -> House:
    return House.furnish(sandbox, "ulla", "uwe")


@pytest.fixture(scope="module")
def small(house: House) -> Iterator[str]:
    """A folder of ulla that is a small disk of its own: its path in storage."""
    place = f"{DATA}/users/ulla/small"
    house.sandbox.exec("head", f"install -d -o xrootd -g xrootd {place}")
    pid = docker("inspect", "-f", "{{.State.Pid}}", house.sandbox.container("head"))
    options = f"size={SMALL},uid=$(id -u xrootd),gid=$(id -g xrootd),mode=750"
    subprocess.run(["nsenter", "--mount", "--target", pid, "sh", "-ec", f"mount -t tmpfs -o {options} small {place}"], check=True)
    try:
        house.sandbox.exec("head", "systemctl restart farmlet-storage")  # its own view of the mounts
        until(house.here.answers, 30)
        yield "/users/ulla/small"
    finally:
        house.sandbox.exec("head", f"systemctl stop farmlet-storage; umount -l {place}; systemctl start farmlet-storage")
        until(house.here.answers, 30)


@pytest.fixture
def disk(house: House, small: str) -> str:
    """That folder, empty."""
    house.sandbox.exec("head", f"find {DATA}{small} -mindepth 1 -delete")
    return small


def test_a_full_disk_is_told_and_leaves_no_half_file(house: House, disk: str) -> None:
    here, big = house.here, bytes(4 * SMALL)
    assert here.put(f"{disk}/fits", house.writer, b"fits") == 201
    with suppress(OSError):  # whose size nobody knows before: the connection is closed on who goes on sending
        assert here.ask("PUT", f"{disk}/big", house.writer, iter([big])).status >= 500
    assert here.get(f"{disk}/big", house.writer) == 404
    assert house.list(disk) == ["fits"]
    upload = open_upload(house, f"{disk}/big", len(big))
    answer = upload.getresponse()  # before anything was sent
    assert answer.status >= 500 and b"no space left on device" in answer.read()
    upload.close()
    assert house.list(disk) == ["fits"]
    assert house.there.put("/users/ulla/big", house.writer, big) == 201
    given = {"Source": f"{house.there.url}/users/ulla/big", "TransferHeaderAuthorization": f"Bearer {house.writer}"}
    assert not here.ask("COPY", f"{disk}/pulled", house.writer, headers=given).copied
    assert house.list(disk) == ["fits"]
    assert here.ask("GET", f"{disk}/fits", house.writer).body == b"fits"
    assert here.put(f"{disk}/after", house.writer, b"room again") == 201


def test_a_copy_of_unknown_size_that_meets_a_full_disk_leaves_no_half_file(house: House, disk: str, lure: list[str]) -> None:
    here, place = house.here, f"https://{house.here.host}:{TLS}/vague"
    # by a page less than what XRootD writes at once, so that a part of the last write still fits
    assert here.put(f"{disk}/fits", house.writer, b"fits") == 201
    for name in ("pulled", "pulled", "fits"):
        answer = here.ask("COPY", f"{disk}/{name}", house.writer, headers={"Source": place, "Overwrite": "T"})
        assert answer.status == 201 and b"failure" in answer.body and not answer.copied
        assert house.list(disk) == ["fits"] and here.ask("GET", f"{disk}/fits", house.writer).body == b"fits"
    assert here.ask("COPY", "/users/ulla/pulled", house.writer, headers={"Source": place}).copied
    assert here.ask("HEAD", "/users/ulla/pulled", house.writer).headers["content-length"] == str(2 * HALF)


def open_upload(house: House, path: str, size: int) -> http.client.HTTPSConnection:
    """An upload of which the server knows the size and has nothing yet."""
    connection = house.here.connect()
    connection.putrequest("PUT", path)
    for name, value in (("Authorization", f"Bearer {house.writer}"), ("Content-Length", str(size))):
        connection.putheader(name, value)
    connection.endheaders()
    return connection


def begin_upload(house: House, path: str) -> http.client.HTTPSConnection:
    """An upload of which a part has arrived."""
    connection = open_upload(house, path, 64 << 20)
    connection.send(bytes(8 << 20))
    until(lambda: house.exists(path), 10)
    return connection


def count_new(house: House) -> int:
    """Files that are to replace others, and are not whole."""
    return len([name for name in house.list("/users/ulla") if name.startswith(".farmlet-new-")])


@pytest.mark.parametrize("killed", [False, True])
def test_an_upload_that_breaks_off_leaves_what_it_was_to_replace(house: House, killed: bool) -> None:
    here, path = house.here, "/users/ulla/precious"
    assert here.put(path, house.writer, b"old") in (200, 201)
    connection = open_upload(house, path, 64 << 20)
    connection.send(bytes(8 << 20))
    until(lambda: count_new(house) == 1, 10)
    if killed:
        house.sandbox.exec("head", "systemctl kill -s KILL farmlet-storage")
        until(here.answers, 30)
    connection.close()
    until(lambda: count_new(house) == 0, 15)
    assert here.ask("GET", path, house.writer).body == b"old"
    assert here.put(path, house.writer, b"new") in (200, 201) and here.ask("GET", path, house.writer).body == b"new"
    assert here.ask("DELETE", path, house.writer).status == 200 and not house.exists(path)


def test_a_file_is_replaced_as_a_whole(house: House) -> None:
    """Also by `root://`, where a client opens what is there to write it anew."""
    here, path = house.here, "/users/ulla/replaced"
    for data in (b"one", b"two" * 1000, b"3"):
        assert here.put(path, house.writer, data) in (200, 201) and here.ask("GET", path, house.writer).body == data
    write = house.owner.command("install -m 600 /dev/null writer && cat > writer")
    subprocess.run(write, input=house.writer, text=True, check=True)
    house.owner.ssh(f"BEARER_TOKEN_FILE=$PWD/writer xrdcp -f /etc/hostname roots://{here.host}/{path}")
    assert here.ask("GET", path, house.writer).body.decode().strip() == house.owner.ssh("cat /etc/hostname").strip()
    assert count_new(house) == 0 and here.ask("DELETE", path, house.writer).status == 200


def test_an_upload_that_breaks_off_leaves_nothing(house: House) -> None:
    connection = begin_upload(house, "/users/ulla/broken")
    assert house.here.get("/users/ulla/broken", house.writer) != 200, "it is not whole yet"
    connection.close()
    until(lambda: not house.exists("/users/ulla/broken"), 15)


def test_a_put_to_a_folder_does_not_keep_the_server_from_starting(house: House) -> None:
    for path in ("/users/ulla", "/users/ulla/", "/users/ulla%00/x"):
        assert house.here.put(path, house.writer, b"x") in REFUSED
    house.sandbox.exec("head", "systemctl restart farmlet-storage")
    until(house.here.answers, 30)
    assert house.here.ask("GET", "/users/ulla/kept", house.writer).body == b"kept"


def test_a_server_that_is_killed_leaves_no_half_file(house: House) -> None:
    connection = begin_upload(house, "/users/ulla/killed")
    house.sandbox.exec("head", "systemctl kill -s KILL farmlet-storage")
    until(house.here.answers, 30)
    assert not house.exists("/users/ulla/killed") and house.exists("/users/ulla/kept")
    connection.close()


def test_a_refused_upload_leaves_what_it_was_to_replace(house: House, disk: str) -> None:
    here, old = house.here, f"{disk}/old"
    assert here.put(old, house.writer, b"old") == 201
    upload = open_upload(house, old, 4 * SMALL)
    assert upload.getresponse().status >= 500
    upload.close()
    # the server closes what it refused, and what was read, after it has answered: until then it is busy (423)
    until(lambda: (found := here.ask("GET", old, house.writer)).status != 423 and found.body == b"old", 30)
    until(lambda: here.put(old, house.writer, b"old") == 201, 30)
    # a file that was refused once can be removed and replaced as any other, by whichever thread of the server
    for turn in range(20):
        refused = open_upload(house, old, 4 * SMALL)
        assert refused.getresponse().status >= 500
        refused.close()
        assert here.ask("DELETE", old, house.writer).status == 200 and house.list(disk) == [], turn
        assert here.put(old, house.writer, b"new") == 201 and house.list(disk) == ["old"], turn


def test_an_upload_that_must_be_a_new_file_leaves_the_one_that_is_there(house: House) -> None:
    """By `root://` a client may ask for that: xrdcp does without `-f`."""
    there = f"roots://{house.here.host}//users/ulla/kept"
    write = ["install -m 600 /dev/null writer && cat > writer"]
    subprocess.run(house.owner.command(write[0]), input=house.writer, text=True, check=True)
    done = house.owner.try_ssh(f"BEARER_TOKEN_FILE=$PWD/writer xrdcp /etc/hostname {there}")
    assert done.returncode != 0 and "exists" in done.stderr.lower(), done
    assert house.here.ask("GET", "/users/ulla/kept", house.writer).body == b"kept"


def test_a_second_upload_of_the_same_file_does_not_end_the_first(house: House) -> None:
    first = begin_upload(house, "/users/ulla/both")
    second = house.here.ask("PUT", "/users/ulla/both", house.writer, b"second")
    first.send(bytes(56 << 20))
    answer = first.getresponse()
    answer.read()
    first.close()
    told = house.here.ask("HEAD", "/users/ulla/both", house.writer)
    assert (answer.status, second.status, told.status, told.headers.get("content-length")) == (201, 423, 200, str(64 << 20))


def test_the_check_writes_and_leaves_nothing_and_finds_a_disk_that_refuses(sandbox: Sandbox) -> None:
    def rows() -> dict[str, dict[str, object]]:
        found = sandbox.run("check", "storage", "--json", code=None).stdout
        return {f"{row['check']}@{row['node']}": row for row in json.loads(found)}

    def files() -> set[str]:
        return {*sandbox.exec("head", "ls -A /srv/farmlet/storage/.farmlet").split()}

    before = files()  # site tests have a folder of theirs there, which stays
    row = rows()["storage.keeps.head@service"]
    assert row["ok"] and "read back" in str(row["evidence"])
    until(lambda: files() <= before, 60)
    sandbox.exec("head", "chown root:root /srv/farmlet/storage/.farmlet")
    try:
        row = rows()["storage.keeps.head@service"]
        assert not row["ok"] and "PUT" in str(row["evidence"])
    finally:
        sandbox.exec("head", "chown xrootd:xrootd /srv/farmlet/storage/.farmlet")
    assert rows()["storage.keeps.head@service"]["ok"]


def begin_copy(house: House, path: str) -> http.client.HTTPSConnection:
    """A copy of which a part has come, and no more will."""
    asker = house.here.connect()
    given = {"Authorization": f"Bearer {house.writer}", "Source": f"https://{house.here.host}:{TLS}/slow"}
    asker.request("COPY", path, headers=given)
    until(lambda: house.exists(path), 10)
    return asker


def test_a_server_that_is_killed_in_a_copy_leaves_no_half_file(house: House, lure: list[str]) -> None:
    asker = begin_copy(house, "/users/ulla/pulling")
    house.sandbox.exec("head", "systemctl kill -s KILL farmlet-storage")
    until(house.here.answers, 30)
    until(lambda: not house.exists("/users/ulla/pulling"), 10)
    asker.close()
