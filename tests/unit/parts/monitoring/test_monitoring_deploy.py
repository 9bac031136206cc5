"""What part monitoring wants on nodes, and what it must never want."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from farmlet.errors import Errors
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.identity.deploy import PART as IDENTITY
from farmlet.parts.monitoring import exporter, metrics, notifier, store
from farmlet.parts.monitoring.config import Mail, Section
from farmlet.parts.monitoring.metrics import measure_certificates
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import File, Resource, Unit
from farmlet.runtime.checks import run
from farmlet.runtime.metrics import render
from farmlet.web.login import SCOPE

TEXT = """\
farmlet: 1
facility: {name: lab, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access]}
  service: {connect: fake, runs: [identity, accounts, monitoring]}
"""
MAIL = "monitoring: {mail: {to: [a@example.org, b@example.org], smtp: 'mail.example.org:25', from: lab@example.org}}\n"


def load(more: str = "") -> Facility:
    return loads(TEXT + more, "facility.yaml", find())


def make(node: str, more: str = "") -> Context:
    facility = load(more)
    return Context(facility, facility.nodes[node], Trust("CA\n"), "0" * 64)


def find_files(resources: Any) -> Mapping[str, str]:
    return {one.path.rsplit("/", 1)[-1]: one.data.decode() for one in resources if isinstance(one, File)}


def find_units(resources: list[Resource]) -> set[str]:
    return {one.name for one in resources if isinstance(one, Unit)}


def test_each_node_hands_in_and_one_keeps() -> None:
    facility = load()
    assert [node.name for node in facility.hosts("monitoring.exporter")] == ["head", "service"]
    assert [node.name for node in facility.hosts("monitoring.store")] == ["service"]
    assert facility.control.names == ("service.farmlet.test", "monitoring.farmlet.test")
    with pytest.raises(Errors, match=r"monitoring\.exporter needs monitoring\.store"):
        loads(TEXT.replace("monitoring", "monitoring.exporter"), "facility.yaml", find())


def test_on_a_node_with_members_nothing_listens_that_could_be_written_to() -> None:
    files = find_files(exporter.configure(make("head")))
    agent = files["farmlet-vmagent.service"]
    assert "-httpListenAddr= " in agent and "-remoteWrite.tlsServerName=service.farmlet.test " in agent
    sockets = {name for name, text in files.items() if "ListenStream=" in text}
    assert sockets == {f"{exporter.USER}.socket", f"{exporter.PUSH}.socket"}
    # they are in the private network of vmagent, which has no other way out; the exporter itself sees the node
    assert {name for name, text in files.items() if "PrivateNetwork=yes" in text} == {*sockets, f"{exporter.AGENT}.service"}
    assert all(exporter.INSIDE in files[name] for name in sockets)
    assert "socket-proxyd service.farmlet.test:443" in files[f"{exporter.PUSH}.service"]
    assert "--web.systemd-socket" in files["farmlet-exporter.service"]
    # to systemd these would mean something: a lone $ or \ would mean something to it
    command = files["farmlet-exporter.service"]
    assert not re.search(r"(?<!\$)\$(?!\$)", command) and not re.search(r"\\(?!\n)", command)


def test_the_store_and_the_rules_are_in_a_network_of_their_own() -> None:
    files = find_files(store.configure(make("service", MAIL)))
    inside = {name for name, text in files.items() if "PrivateNetwork=yes" in text}
    services = {f"{name}.service" for name in (store.STORE, store.RULES, store.DOOR)}
    assert inside == services | {f"{notifier.NAME}.socket"}  # Alertmanager itself reaches the relay
    joined = {name for name in inside if f"JoinsNamespaceOf={store.STORE}.service" in files[name]}
    assert joined == inside - {f"{store.STORE}.service"}
    assert f"SocketUser={store.WEB}\nSocketMode=0600" in files[f"{store.DOOR}.socket"]


def test_without_mail_nobody_sends_any() -> None:
    resources = list(store.configure(make("service")))
    assert f"{notifier.NAME}.service" not in find_units(resources)
    assert "-notifier.blackhole" in find_files(resources)[f"{store.RULES}.service"]
    resources = list(store.configure(make("service", MAIL)))
    assert f"{notifier.NAME}.service" in find_units(resources)
    receiver = json.loads(find_files(resources)["alarms.json"])["receivers"][0]["email_configs"][0]
    assert receiver["to"] == "a@example.org, b@example.org" and receiver["require_tls"] is True
    assert receiver["smarthost"] == "mail.example.org:25" and receiver["from"] == "lab@example.org"


def test_mail_goes_to_the_nodes_own_server_unless_the_file_names_one() -> None:
    about = {"to": ["a@example.org"], "from": "lab@example.org"}
    said = [
        notifier.describe_mail(Mail.model_validate(about | more))
        for more in (
            {},
            {"smtp": "localhost:25", "tls": True},
            {"smtp": "mail.example.org:25"},
            {"smtp": "10.0.0.1:25", "tls": False},
        )
    ]
    assert [one["smarthost"] for one in said] == ["localhost:25", "localhost:25", "mail.example.org:25", "10.0.0.1:25"]
    assert [one["require_tls"] for one in said] == [False, True, True, False]


def test_webhooks_and_the_one_that_is_told_that_all_is_well() -> None:
    files = find_files(
        store.configure(
            make("service", "monitoring: {webhooks: [https://chat.example.org/a], deadman: https://d.example.org/x}\n")
        )
    )
    config = json.loads(files["alarms.json"])
    assert config["receivers"] == [
        {"name": "alarms", "webhook_configs": [{"url": "https://chat.example.org/a", "send_resolved": True}]},
        {"name": "deadman", "webhook_configs": [{"url": "https://d.example.org/x", "send_resolved": False}]},
    ]
    assert config["route"]["receiver"] == "alarms" and config["route"]["routes"][0]["matchers"] == ['alertname="Watchdog"']
    (rule,) = [rule for rule in json.loads(files["rules.json"])["groups"][0]["rules"] if rule["alert"] == "Watchdog"]
    assert 'node=~"head|service"' in rule["expr"] and rule["expr"].endswith("== 2")
    # without a receiver nobody counts on it, and it is no alarm to be watched
    files = find_files(store.configure(make("service", MAIL)))
    assert "Watchdog" not in files["rules.json"] and "Watchdog" not in files["monitoring.json"]


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://u:p@x/", "https://x/ y", "https://x/$a", "https://x/%n", "https://x:0/", "x"]
)
def test_a_url_that_would_be_read_otherwise_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        Section.model_validate({"webhooks": [url]})
    with pytest.raises(ValidationError):
        Section.model_validate({"also": [url]})


def test_further_stores_and_writers() -> None:
    more = """\
monitoring:
  also:
    - https://influx.example.org:8086/api/v1/prom/write?db=lab
    - {url: http://b.example.org/w, user: u, password_file: /etc/b}
  writers: [telegraf]
"""
    files = find_files(store.configure(make("service", more)))
    unit = files["farmlet-also.service"]
    assert (
        "-remoteWrite.url=https://127.0.0.1:8440/api/v1/prom/write?db=lab -remoteWrite.headers=Host:influx.example.org:8086"
        in unit
    )
    assert "-remoteWrite.tlsServerName=influx.example.org " in unit and "passwordFile=%d/also-1 " in unit
    assert "LoadCredential=also-1:/etc/b\n" in unit and "PrivateNetwork=yes" in unit
    assert "socket-proxyd influx.example.org:8086\n" in files["farmlet-also-0.service"]
    out = files["farmlet-also-1.service"]
    assert "socket-proxyd b.example.org:80\n" in out and "PrivateNetwork" not in out
    inside = [text for name, text in files.items() if "farmlet-also" in name and "ListenStream=127" in text]
    assert len(inside) == 2 and all(
        "PrivateNetwork=yes" in text and "JoinsNamespaceOf=farmlet-store.service" in text for text in inside
    )
    assert json.loads(files["monitoring.json"])["writers"] == {"telegraf": f"{store.TOKENS}/writers/telegraf"}
    assert json.loads(files["monitoring.json"])["readers"] == {}
    files = find_files(store.configure(make("service")))
    assert not [name for name in files if "also" in name] and json.loads(files["monitoring.json"])["also"] == ""


def test_each_node_has_a_rule_that_sees_its_silence() -> None:
    rules = json.loads(find_files(store.configure(make("service")))["rules.json"])["groups"][0]["rules"]
    silent = [rule["expr"] for rule in rules if rule["alert"] == "NodeSilent"]
    assert len(silent) == 2 and 'node="head"' in silent[0] and 'node="service"' in silent[1]
    assert rules[0]["annotations"]["runbook"].startswith("https://monitoring.farmlet.test/#")


def test_what_site_tests_tell_is_looked_at_sooner() -> None:
    sites = TEXT.replace("monitoring]", "monitoring, overlay, batch.central, sitetests]")
    facility = loads(sites, "facility.yaml", find())
    contexts = [Context(facility, facility.nodes[name], Trust("CA\n"), "0" * 64) for name in ("head", "service")]
    assert [exporter.scrape(context)["global"]["scrape_interval"] for context in contexts] == ["15s", "5s"]
    groups = json.loads(find_files(store.configure(contexts[1]))["rules.json"])["groups"]
    found = {group["name"]: (group["interval"], [rule.get("alert") for rule in group["rules"]]) for group in groups}
    assert found["soon"] == ("5s", ["SiteClosed"]) and found["farmlet"][0] == "15s"


def test_the_pages_secret_comes_by_the_agent_and_stands_in_no_file_of_ours() -> None:
    files = find_files(store.configure(make("service")))
    spec = json.loads(files["monitoring.store.json"])["deliver"]["client-monitoring"]
    assert (spec["path"], spec["mode"], spec["owner"]) == (store.SECRET, "0600", store.WEB)
    login = json.loads(files["monitoring.json"])["login"]
    assert login["secret"] == store.SECRET and login["origin"] == "https://monitoring.farmlet.test"


@pytest.mark.parametrize(
    "wrong",
    [
        {"to": []},
        {"to": ["a@example.org, b@example.org"]},
        {"to": ["a@example.org\nBcc: x@example.org"]},
        {"from": "{{ .Status }}@example.org"},
        {"smtp": "mail.example.org"},
        {"smtp": "mail.example.org:99999"},
        {"password": "x"},
    ],
)
def test_mail_that_would_be_read_otherwise_is_refused(wrong: dict[str, Any]) -> None:
    good = {"to": ["a@example.org"], "smtp": "mail.example.org:25", "from": "lab@example.org"}
    assert Mail.model_validate(good)
    with pytest.raises(ValidationError):
        Mail.model_validate({**good, **wrong})


def test_when_the_nodes_certificates_end(tmp_path: Path) -> None:
    made = tmp_path / "node.crt"
    run("openssl", "req", "-x509", "-nodes", "-subj", "/CN=x", "-days", "3", "-keyout", str(tmp_path / "k"), "-out", str(made))
    (tmp_path / "certificates.json").write_text(json.dumps({"renew": [{"path": str(made)}, {"path": f"{tmp_path}/none"}]}))
    text = render(measure_certificates(str(tmp_path)))
    end = float(re.findall(r"timestamp_seconds\{.*\} (.*)", text)[0])
    assert end - made.stat().st_mtime == pytest.approx(3 * 86400, abs=60)


def test_how_old_a_backup_is(tmp_path: Path) -> None:
    made = tmp_path / "backup"

    def find() -> float:
        return metrics.measure_backup(str(made))[0].value

    assert find() == 0  # nobody made the folder, or its disk is away
    made.mkdir()
    (made / "empty").touch()  # a dump that came to nothing
    (made / "old").write_text("all")
    os.utime(made / "old", (1e9, 1e9))
    assert find() == 1e9
    (made / "young").write_text("all")
    assert find() == (made / "young").stat().st_mtime
    made = made / "empty"  # a file that is touched
    assert find() == made.stat().st_mtime


def test_backups_are_of_nodes_of_the_file() -> None:
    more = "monitoring: {backups: {head: /srv/backup}}\n"
    found = {node: [one.args.get("path") for one in exporter.list_metrics(make(node, more))] for node in ("head", "service")}
    assert "/srv/backup" in found["head"] and "/srv/backup" not in found["service"]
    with pytest.raises(Errors, match="heat is no node of the file"):
        load(more.replace("head", "heat"))
    with pytest.raises(Errors, match="no absolute path"):
        load(more.replace("/srv", "srv"))


def test_the_issuer_registers_what_the_log_in_asks_for() -> None:
    context = make("service")
    (step,) = [one.run for one in IDENTITY.role("provider").configure(context) if one.label == "step client monitoring"]  # type: ignore[attr-defined]
    assert "--redirect-uri https://monitoring.farmlet.test/login/back" in step
    assert all(f"--scope {scope}" in step for scope in SCOPE.split())


@pytest.mark.parametrize(("off", "told"), [(0.0, 0.0), (0.4, 0.0), (60.0, 59.0), (-60.0, -60.0)])
def test_how_far_a_clock_is_off(off: float, told: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's clock shows 1000.5 when it answers, the node's that and `off`."""

    class Connection:
        def __init__(self, *_: object, **__: object) -> None:
            self.headers = {"Date": "Thu, 01 Jan 1970 00:16:40 GMT"}

        def request(self, *_: object) -> None: ...

        def getresponse(self) -> Connection:
            return self

        def close(self) -> None: ...

    monkeypatch.setattr(metrics, "HTTPSConnection", Connection)
    monkeypatch.setattr(metrics.ssl, "create_default_context", lambda **_: None)
    monkeypatch.setattr(metrics.time, "time", lambda: 1000.5 + off)
    (sample,) = metrics.measure_clock("h", "ca")
    assert sample.value == pytest.approx(told, abs=0.51) and (sample.value == 0) == (told == 0)
