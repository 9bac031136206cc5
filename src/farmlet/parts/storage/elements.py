"""The storage elements that are not ours, as the facility file names them."""

from __future__ import annotations

from collections.abc import Iterator

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts.part import ElementAccess
from farmlet.parts.storage.config import Element, Storage


def elements(facility: Facility) -> tuple[Element, ...]:
    """The elements that the facility file names."""
    section = facility.parts.get("storage")
    return section.elements if isinstance(section, Storage) else ()


def find_elements(facility: Facility) -> dict[str, ElementAccess]:
    """How members reach each of them, by name."""
    return {
        one.name: ElementAccess(one.name, one.base, one.audience, one.authorise == "scopes", one.ca, one.kind)
        for one in elements(facility)
    }


def validate(facility: Facility) -> Iterator[Issue]:
    """An external issuer grants scopes by a policy that is not this facility's, so elements go by groups with it."""
    for number, one in enumerate(elements(facility) if facility.external else ()):
        if one.authorise == "scopes":
            what = f"element {one.name} would go by scopes, which {facility.issuer} grants by a policy of its own"
            yield ("storage", "elements", number, "authorise"), what, "`authorise: groups`, and tell its admin"
