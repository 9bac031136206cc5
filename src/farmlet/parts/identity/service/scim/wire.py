"""Resources as JSON, the way both databases and scim2's models write them: small pieces shared by users and groups."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from scim2_models import InvalidValueException
from scim2_models import Resource as Model
from scim2_models.policy import default_comparison_key

if TYPE_CHECKING:  # the rest is plain values
    from farmlet.parts.identity.service.django.models import Group, Member

Resource = dict[str, Any]
LOG = logging.getLogger(__name__)


def finish(resource: Resource, kind: str, row: Member | Group, location: str) -> Resource:
    """The resource without its empty attributes, with `meta`; its version is a digest of all the rest (RFC 7643 §3.1)."""
    resource = {name: value for name, value in resource.items() if value not in (None, "", [], {})}
    digest = hashlib.sha256(json.dumps(resource).encode()).hexdigest()[:20]
    resource["meta"] = {
        "resourceType": kind,
        "created": show_time(row.created),
        "lastModified": show_time(row.updated),
        "location": location,
        "version": f'W/"{digest}"',
    }
    return resource


def load(model: Any, resource: Resource) -> Model[Any]:
    """JSON of ours as scim2's model. Raises ValidationError where the member could not be told at all.

    What was stored by an older rule, or by hand, and fits no longer is left out: it costs that attribute, and not a list or a
    member.
    """
    try:
        loaded: Model[Any] = model.model_validate(resource)
    except ValidationError as error:
        odd = {str(fault["loc"][0]) for fault in error.errors(include_input=False) if fault["loc"]} & resource.keys()
        if not odd:
            raise
        LOG.warning("%s: left out what is no SCIM: %s", resource.get("id"), ", ".join(sorted(odd)))
        loaded = model.model_validate({name: value for name, value in resource.items() if name not in odd})
    return loaded


def show_time(moment: datetime) -> str:
    """RFC 3339 in UTC, with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_id(text: Any) -> uuid.UUID | None:
    """The id, in its one spelling; None for anything else, which no resource has."""
    try:
        found = uuid.UUID(text)
    except (ValueError, TypeError, AttributeError):
        return None
    return found if str(found) == text else None


def keep(wanted: Resource, known: Collection[str], extensions: Mapping[str, Collection[str]]) -> Resource:
    """What of a resource has no column: all but the `known`, and the named attributes of the extensions."""
    extra = {name: value for name, value in wanted.items() if name not in known and name not in extensions}
    for urn, names in extensions.items():
        kept = {name: value for name, value in wanted.get(urn, {}).items() if name in names}
        extra |= {urn: kept} if kept else {}
    return extra


def limit(value: str | None, name: str, longest: int) -> str:
    """A text for a column of `longest` characters. Raises InvalidValueException."""
    if value is not None and len(value) > longest:
        raise InvalidValueException(detail=f"{name} has more than {longest} characters")
    return value or ""


def refuse_null(value: Any) -> None:
    """Raises InvalidValueException for a null character anywhere: PostgreSQL cannot store one."""
    if "\\u0000" in json.dumps(value).replace("\\\\", ""):
        raise InvalidValueException(detail="a text holds a null character")


def fold(text: str) -> str:
    """A text as SCIM compares it where its case does not count."""
    return default_comparison_key(_Folding, text)


class _Folding:
    case_exact = False
