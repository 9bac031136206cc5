"""The storage elements that are not ours, as the facility file names them."""

from __future__ import annotations

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
        one.name: ElementAccess(one.name, one.base, one.audience, one.authorise == "scopes", one.ca) for one in elements(facility)
    }
