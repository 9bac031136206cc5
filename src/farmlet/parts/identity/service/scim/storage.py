"""Members and groups as a storage of scim2-server: SQL where a search can be told in it, else resource by resource."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from django.db import transaction
from django.db.models import QuerySet
from scim2_models import NotFoundException, PreconditionFailedException, ResourceType, ScimFilter, SearchRequest
from scim2_models import Resource as Model
from scim2_server.storage import ScimStorage, SearchPage

from farmlet.parts.identity.service.members.members import take_turn
from farmlet.parts.identity.service.scim.filters import Column, Told, translate
from farmlet.parts.identity.service.scim.wire import Resource, load

SOME = 1000  # rows at a time: a database takes only so many parameters
Pair = tuple[Resource, Model[Any]]


class Shelf(Protocol):
    """One kind of resource: rows of the database in, JSON out."""

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> Any: ...
    @property
    def columns(self) -> Mapping[str, Column]: ...
    def query(self) -> QuerySet[Any]: ...
    def find(self, text: str) -> Any | None: ...
    def represent(self, rows: Sequence[Any]) -> list[Resource]: ...
    def create(self, wanted: Resource) -> Resource: ...
    def update(self, row: Any, wanted: Resource) -> None: ...
    def delete(self, row: Any) -> None: ...


class Storage(ScimStorage):
    """`writes`: whether the request may change something; then its operations are transactions, one after another."""

    def __init__(self, shelves: Sequence[Shelf], writes: bool) -> None:
        self.shelves = {shelf.kind: shelf for shelf in shelves}
        self.writes = writes

    @contextmanager
    def operation(self) -> Generator[None]:
        if not self.writes:
            yield
            return
        with transaction.atomic():
            take_turn()
            yield

    def get(self, resource_type: ResourceType, resource_id: str, *, response_parameters: Any = None) -> Model[Any]:
        shelf, row = self._find(resource_type, resource_id)
        return load(shelf.model, shelf.represent([row])[0])

    def search(
        self, resource_types: list[ResourceType], search_request: SearchRequest[Any], *, position: Any = None
    ) -> SearchPage:
        """A page whose resources are JSON, not models: the service writes them as they are where it can."""
        shelves = [self.shelves[str(kind.name)] for kind in resource_types]
        filters = [_bind(shelf, search_request.filter) for shelf in shelves]
        start = search_request.start_index_0 or 0
        stop = None if search_request.count is None else start + search_request.count
        told = translate(filters[0], shelves[0].columns)
        if len(shelves) == 1 and told.exact and search_request.sort_by is None:
            found = _select(shelves[0], told)
            return _page(found.count(), shelves[0].represent(list(found[start:stop])))
        matching = _sort(_match(zip(shelves, filters, strict=True)), search_request)
        return _page(len(matching), [resource for resource, _ in matching[start:stop]])

    def create(self, resource_type: ResourceType, resource: Model[Any]) -> Model[Any]:
        shelf = self.shelves[str(resource_type.name)]
        return load(shelf.model, shelf.create(resource.model_dump()))

    def update(self, resource_type: ResourceType, resource: Model[Any], *, expected_version: str | None = None) -> Model[Any]:
        shelf, row = self._find(resource_type, str(resource.id), expected_version)
        shelf.update(row, resource.model_dump())
        return self.get(resource_type, str(resource.id))

    def delete(self, resource_type: ResourceType, resource_id: str, *, expected_version: str | None = None) -> None:
        shelf, row = self._find(resource_type, resource_id, expected_version)
        shelf.delete(row)

    def _find(self, resource_type: ResourceType, text: str, version: str | None = None) -> tuple[Shelf, Any]:
        shelf = self.shelves[str(resource_type.name)]
        row = shelf.find(text)
        if row is None:
            raise NotFoundException(detail=f"no such {shelf.kind}")
        if version is not None and shelf.represent([row])[0]["meta"]["version"] != version:
            raise PreconditionFailedException
        return shelf, row


def _page(total: int, resources: list[Resource]) -> SearchPage:
    return SearchPage(total, resources)  # type: ignore[arg-type]


def _bind(shelf: Shelf, found: ScimFilter[Any] | None) -> ScimFilter[Any] | None:
    """The filter for one kind of resource; what that kind does not declare fits none of it."""
    if found is None:
        return None
    bound: ScimFilter[Any] = ScimFilter[shelf.model](str(found))  # type: ignore[name-defined]
    return bound


def _select(shelf: Shelf, told: Told) -> QuerySet[Any]:
    return shelf.query() if told.where is None else shelf.query().filter(told.where)


def _match(asked: Iterable[tuple[Shelf, ScimFilter[Any] | None]]) -> list[Pair]:
    """The resources that the filter fits, looked at one by one among those that the database leaves."""
    pairs: list[Pair] = []
    for shelf, wanted in asked:
        rows = list(_select(shelf, translate(wanted, shelf.columns)))
        for start in range(0, len(rows), SOME):
            resources = shelf.represent(rows[start : start + SOME])
            loaded = [(resource, load(shelf.model, resource)) for resource in resources]
            pairs += [pair for pair in loaded if wanted is None or wanted.match(pair[1])]
    return pairs


def _sort(pairs: list[Pair], request: SearchRequest[Any]) -> list[Pair]:
    """By the attribute asked for; what lacks it comes last, or first in descending order (RFC 7644 §3.4.2.3)."""
    if request.sort_by is None:
        return pairs

    def key(pair: Pair) -> tuple[bool, Any]:
        value = request.sort_value(pair[1])
        return value is None, "" if value is None else value

    return sorted(pairs, key=key, reverse=request.sort_order == SearchRequest.SortOrder.descending)
