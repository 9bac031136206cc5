"""The storage elements that are not ours, as the facility file names them."""

from __future__ import annotations

from collections.abc import Iterator

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts.part import ElementAccess
from farmlet.parts.storage.config import Element, Storage

# seconds for which an issuer's keys are kept, whatever key a token names (a dCache's are fixed in its code); of software that
# is not known as much
KEEPS_KEYS = {"xrootd": 600}
LONGEST = 6 * 3600
AFRESH = {"xrootd": ElementAccess.afresh, "dcache": "restarts the domain of gPlazma"}


def elements(facility: Facility) -> tuple[Element, ...]:
    """The elements that the facility file names."""
    section = facility.parts.get("storage")
    return section.elements if isinstance(section, Storage) else ()


def find_elements(facility: Facility) -> dict[str, ElementAccess]:
    """How members reach each of them, by name."""
    return {one.name: _describe(one) for one in elements(facility)}


def _describe(one: Element) -> ElementAccess:
    by_scopes, kept = one.authorise == "scopes", KEEPS_KEYS.get(one.kind, LONGEST)
    return ElementAccess(
        one.name, one.base, one.audience, by_scopes, one.ca, one.kind, kept, AFRESH.get(one.kind, "restarts its server")
    )


def validate(facility: Facility) -> Iterator[Issue]:
    """An external issuer grants scopes by a policy that is not this facility's, so elements go by groups with it."""
    for number, one in enumerate(elements(facility) if facility.external else ()):
        if one.authorise == "scopes":
            what = f"element {one.name} would go by scopes, which {facility.issuer} grants by a policy of its own"
            yield ("storage", "elements", number, "authorise"), what, "`authorise: groups`, and tell its admin"
