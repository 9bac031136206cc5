"""SCIM 2.0 (RFC 7644) and the feed of changes. The schemas of resources are SCIM's own, at `/Schemas`."""

from __future__ import annotations

from farmlet.parts.identity.service.openapi.parts import (
    BEARER,
    NUMBER,
    YES,
    Piece,
    answer,
    content,
    operation,
    parameter,
    record,
    refer,
)
from farmlet.parts.identity.service.scim.models import GROUP, USER

SUBS: Piece = {"type": "array", "items": {"type": "string", "format": "uuid"}}
KIND = "application/scim+json"
META = record("resourceType location", "resourceType location")
OPERATION = record("op", "path", op={"type": "string", "enum": ["add", "remove", "replace"]}, value={})
BULK = record("method path", "path bulkId version", method={"enum": ["POST", "PUT", "PATCH", "DELETE"]}, data={})


def message(kind: str) -> Piece:
    """The `schemas` of a message of SCIM's."""
    return {"const": [f"urn:ietf:params:scim:api:messages:2.0:{kind}"]}


SCHEMAS: dict[str, Piece] = {
    "ScimError": record("schemas status", "status scimType detail", lists="schemas"),
    "Resource": record("schemas id", "id externalId", lists="schemas", meta=META),
    "List": record(
        "schemas totalResults",
        numbers="totalResults startIndex itemsPerPage",
        lists="schemas",
        Resources={"type": "array", "items": {"type": "object"}},
    ),
    "User": record("schemas userName", "userName displayName", schemas={"const": [USER]}, active=YES),
    "Group": record("schemas displayName", "displayName", schemas={"const": [GROUP]}),
    "Patch": record(
        "schemas Operations", schemas=message("PatchOp"), Operations={"type": "array", "items": OPERATION, "minItems": 1}
    ),
    "Search": record("schemas", "filter sortBy", "startIndex count", schemas=message("SearchRequest")),
    "Bulk": record("schemas Operations", schemas=message("BulkRequest"), Operations={"type": "array", "items": BULK}),
    "Changes": record("cursor changed removed", numbers="cursor", changed=SUBS, removed=SUBS),
}

ERROR = refer("ScimError")
LIST = answer("A page", refer("List"), KIND)
DENIED = {401: answer("No good token", ERROR, KIND), 403: answer("Its scopes are too narrow", ERROR, KIND)}
WRONG = {400: answer("Not understood", ERROR, KIND), **DENIED}
BAD = {**WRONG, 413: answer("Too long", ERROR, KIND), 415: answer("Not JSON", ERROR, KIND)}
MISSING = {404: answer("No such resource", ERROR, KIND)}
CLASH = {409: answer("The name is taken", ERROR, KIND)}
STALE = {412: answer("It has changed meanwhile", ERROR, KIND)}
SAME = {304: answer("As before")}
DONE = {204: answer("Done")}
QUERY = [
    parameter("filter", "RFC 7644 §3.4.2.2"),
    parameter("startIndex", "From 1", NUMBER),
    parameter("count", "Resources of the page", NUMBER),
    parameter("sortBy", "An attribute"),
    parameter("sortOrder", "ascending or descending", {"enum": ["ascending", "descending"]}),
    parameter("attributes", "What to tell"),
    parameter("excludedAttributes", "What to leave out"),
]
SOME = QUERY[-2:]
ID = parameter("id", "Of the resource", place="path")


def one(text: str) -> Piece:
    return answer(text, refer("Resource"), KIND)


def body(name: str) -> Piece:
    return content(refer(name), KIND)


def read(summary: str, answers: dict[int, Piece], *parameters: Piece) -> Piece:
    return {"get": operation(summary, answers, parameters=parameters, security=BEARER)}


def search(summary: str) -> Piece:
    return {"post": operation(summary, {200: LIST, **BAD}, body=body("Search"), security=BEARER)}


def collection(name: str) -> Piece:
    made = {201: one("Made"), **BAD, **CLASH}
    return {
        **read(f"{name}s that fit", {200: LIST, **WRONG}, *QUERY),
        "post": operation(f"Make a {name}", made, body=body(name), parameters=SOME, security=BEARER),
    }


def resource(name: str) -> Piece:
    changed = {200: one("As it is now"), **DONE, **BAD, **MISSING, **CLASH, **STALE}
    return {
        "parameters": [ID],
        **read(f"One {name}", {200: one("It"), **SAME, **WRONG, **MISSING}, *SOME),
        "put": operation(f"Replace a {name}", changed, body=body(name), parameters=SOME, security=BEARER),
        "patch": operation(f"Change a {name}", changed, body=body("Patch"), parameters=SOME, security=BEARER),
        "delete": operation(f"Remove a {name}", {**DONE, **WRONG, **MISSING, **STALE}, security=BEARER),
    }


def describe(base: str) -> dict[str, Piece]:
    """The paths below `base`; discovery needs no token."""
    found = {200: answer("All", refer("List"), KIND), 403: answer("No filter here", ERROR, KIND)}
    single = {200: answer("It", {"type": "object"}, KIND), **MISSING}
    paths: dict[str, Piece] = {
        "/ServiceProviderConfig": {"get": operation("What SCIM can do here", {200: answer("It", {"type": "object"}, KIND)})},
        "/Me": read("The member whose token it is", {200: one("Me"), **SAME, **WRONG}, *SOME),
        "/.search": search("Search everything"),
        "/Bulk": {"post": operation("Many at once", {200: answer("Each", {}, KIND), **BAD}, body=body("Bulk"), security=BEARER)},
    }
    for kind in ("ResourceTypes", "Schemas"):
        paths[f"/{kind}"] = {"get": operation(f"All {kind}", found)}
        paths[f"/{kind}/{{id}}"] = {"parameters": [ID], "get": operation(f"One of {kind}", single)}
    for name in ("User", "Group"):
        paths[f"/{name}s"] = collection(name)
        paths[f"/{name}s/.search"] = search(f"Search {name}s")
        paths[f"/{name}s/{{id}}"] = resource(name)
    for below in ("members", "subgroups"):
        page = read(f"The {below} of a Group, as INDIGO IAM has it", {200: LIST, **WRONG, **MISSING}, *QUERY[1:3])
        paths[f"/Groups/{{id}}/{below}"] = {"parameters": [ID], **page}
    return {base + path: item for path, item in paths.items()}


FEED = read(
    "Members that changed since",
    {200: answer("Them", refer("Changes")), **WRONG},
    parameter("cursor", "What the last answer said", NUMBER),
    parameter("wait", "Seconds to wait for a change, at most 55", {"type": "integer", "maximum": 55}),
)
PATHS: dict[str, Piece] = {"/scim/v2/changes": FEED, **describe("/scim/v2"), **describe("/scim")}
