"""scim2-tester against the real service, and against the reference storage of scim2-server with the same models."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from issuer import Service
from scim import INDIGO_USER, OURS, USER, start
from scim2_client.engines.wsgi import WSGISCIMClient
from scim2_models import Resource as Model
from scim2_models import ResourceType, SCIMException
from scim2_server.handler import ScimHandler
from scim2_server.memory import InMemoryStorage
from scim2_server.requests import ScimRequest
from scim2_server.service import ScimService
from scim2_tester import Status, check_server

from farmlet.parts.identity.service.scim.models import describe_service

pytestmark = pytest.mark.service

Fault = tuple[str, str]  # check, URN of the attribute
INDIGO_GROUP = "urn:indigo-dc:scim:schemas:IndigoGroup"
# The tester adds to a list inside an extension and reads it back with another class of its own: never equal.
LISTS = {
    ("check_add_attribute", f"{INDIGO_USER}:labels"),
    ("check_add_attribute", f"{INDIGO_USER}:attributes"),
    ("check_add_attribute", f"{INDIGO_USER}:sshKeys"),
    ("check_add_attribute", f"{INDIGO_GROUP}:labels"),
}
# The tester writes an empty extension and wants it back. All of ours is read-only: nothing was written.
WRITTEN = {("check_add_attribute", OURS), ("check_replace_attribute", OURS)}
# The tester removes it and wants it gone: so it does wherever a server tells something in a read-only extension.
REMOVED = {("check_remove_attribute", OURS)}


class Telling(InMemoryStorage):
    """The reference storage, telling something of its own in our read-only extension, as every server with one does."""

    def create(self, resource_type: ResourceType, resource: Model[Any]) -> Model[Any]:
        return self.tell(super().create(resource_type, resource))

    def get(self, resource_type: ResourceType, resource_id: str, **options: Any) -> Model[Any]:
        return self.tell(super().get(resource_type, resource_id, **options))

    def tell(self, resource: Model[Any]) -> Model[Any]:
        told = {OURS: {"uidNumber": 20000}} if USER in resource.schemas else {}
        return type(resource).model_validate({**resource.model_dump(), **told})


def refer(storage: InMemoryStorage) -> Callable[..., Iterable[bytes]]:
    """The reference as a WSGI application."""
    service = ScimService(describe_service(1000))
    handler = ScimHandler(service, storage)

    def application(environ: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        headers = {"Content-Type": environ.get("CONTENT_TYPE", "")}
        path, body = environ["PATH_INFO"].removeprefix("/scim/v2"), environ["wsgi.input"].read()
        try:
            answer = handler.handle(
                ScimRequest(environ["REQUEST_METHOD"], "https://localhost/scim/v2", path, query, headers, body)
            )
        except SCIMException as error:
            answer = service.error_response(error)
        begin(f"{int(answer.status)} -", list(answer.headers.items()))
        return [json.dumps(answer.body).encode()] if answer.body is not None else []

    return application


def relay(service: Service) -> Callable[..., Iterable[bytes]]:
    """The real service as a WSGI application, for the tester has no client of its own for it."""
    program = start(service, "tester", "scim:read scim:write")

    def application(environ: dict[str, Any], begin: Callable[..., Any]) -> Iterable[bytes]:
        query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
        headers = {"Content-Type": environ["CONTENT_TYPE"]} if environ.get("CONTENT_TYPE") else {}
        path, body = environ["PATH_INFO"].removeprefix("/scim/v2"), environ["wsgi.input"].read()
        answer = program.ask(environ["REQUEST_METHOD"], path, body or None, headers, **query)
        told = [(name, value) for name, value in answer.headers.items() if name in ("Content-Type", "ETag", "Location")]
        begin(f"{answer.status} -", told)
        return [json.dumps(answer.body).encode()] if answer.status != 204 else []

    return application


def examine(application: Callable[..., Iterable[bytes]], base: str) -> tuple[int, set[Fault]]:
    """How many checks went well, and what did not."""
    results = check_server(WSGISCIMClient(application, base))
    errors = [result for result in results if result.status is not Status.SUCCESS]
    urns = [str(result.data["urn"]) if isinstance(result.data, dict) else str(result.reason) for result in errors]
    return len(results) - len(errors), {(str(result.title), urn) for result, urn in zip(errors, urns, strict=True)}


def test_no_error_but_those_of_the_reference(service: Service) -> None:
    well, faults = examine(relay(service), f"{service.issuer}/scim/v2")
    plain, of_reference = examine(refer(InMemoryStorage()), "https://localhost/scim/v2")
    telling, of_telling = examine(refer(Telling()), "https://localhost/scim/v2")
    assert of_reference == LISTS | WRITTEN
    assert of_telling == LISTS | WRITTEN | REMOVED
    assert faults <= of_telling, faults - of_telling
    assert well >= telling >= 100 and plain >= 100
