"""The small pieces a description is made of: an operation, its answers, a form, a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Piece = dict[str, Any]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
TEXT: Piece = {"type": "string"}
TEXTS: Piece = {"type": "array", "items": TEXT}
NUMBER: Piece = {"type": "integer"}
YES: Piece = {"type": "boolean"}

CLIENT: list[Piece] = [{"basic": []}, {}]  # a public client, or one that sends its secret in the form, has no header
BEARER: list[Piece] = [{"bearer": []}]


def refer(name: str) -> Piece:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: str = "", texts: str = "", numbers: str = "", lists: str = "", **others: Piece) -> Piece:
    """An object that may have more properties than these. Names are blank-separated; `lists` are of texts."""
    plain = ((texts, TEXT), (numbers, NUMBER), (lists, TEXTS))
    properties = {name: piece for names, piece in plain for name in names.split()} | others
    return {"type": "object", "properties": properties, **({"required": required.split()} if required else {})}


def content(schema: Piece, *kinds: str) -> Piece:
    """A body of any of these media types."""
    return {kind: {"schema": schema} for kind in kinds or (JSON,)}


def parameter(name: str, text: str, schema: Piece = TEXT, *, place: str = "query") -> Piece:
    """A parameter; those of a path are always there."""
    return {"name": name, "in": place, "description": text, "required": place == "path", "schema": schema}


def answer(text: str, schema: Piece | None = None, *kinds: str) -> Piece:
    """One answer; None for an empty one."""
    return {"description": text, **({"content": content(schema, *kinds)} if schema else {})}


def operation(
    summary: str,
    answers: Mapping[int, Piece],
    *,
    body: Piece | None = None,
    parameters: Sequence[Piece] = (),
    security: Sequence[Piece] = (),
) -> Piece:
    """What one method of a path does. `security`: any of these will do, nothing for nothing."""
    found: Piece = {"summary": summary, "responses": {str(status): told for status, told in answers.items()}}
    if parameters:
        found["parameters"] = list(parameters)
    if body:
        found["requestBody"] = {"required": True, "content": body}
    return {**found, "security": list(security)}
