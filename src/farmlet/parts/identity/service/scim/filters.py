"""SCIM filters (RFC 7644 §3.4.2.2) as conditions of the database, as far as these can tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from scim2_models import ScimFilter
from scim2_models.path import CompareOperator, Comparison, FilterVisitor, LogicalExpr, LogicalOperator, Not, Present, ValuePath

from farmlet.parts.identity.service.scim.wire import parse_id


@dataclass(frozen=True)
class Told:
    """What the database says: rows fit only where `where` holds (None: nothing is known), and all these do if `exact`."""

    where: Q | None
    exact: bool = True


UNTOLD = Told(None, exact=False)
# what is known of "attribute eq value"
Column = Callable[[Any], Told]


def translate(found: ScimFilter[Any] | None, columns: Mapping[str, Column]) -> Told:
    """The filter as a condition. `columns`: by the attribute's URN in small letters."""
    return Told(None) if found is None else _Translator(found, columns).visit(found.ast)


class _Translator(FilterVisitor[Told]):
    def __init__(self, found: ScimFilter[Any], columns: Mapping[str, Column]) -> None:
        self.filter, self.columns = found, columns

    def visit_comparison(self, node: Comparison) -> Told:
        binding = self.filter.resolve_comparison(node.attr_path, strict=False)
        column = self.columns.get(binding.urn.lower()) if binding else None
        return column(node.value) if column and node.op == CompareOperator.eq else UNTOLD

    def visit_logical_expr(self, node: LogicalExpr) -> Told:
        whole, *others = [self.visit(term) for term in node.terms]
        for other in others:
            whole = _both(whole, other) if node.op == LogicalOperator.and_ else _either(whole, other)
        return whole

    def visit_not(self, node: Not) -> Told:
        told = self.visit(node.expr)
        return Told(~told.where) if told.exact and told.where is not None else UNTOLD

    def visit_present(self, node: Present) -> Told:
        return UNTOLD

    def visit_value_path(self, node: ValuePath) -> Told:
        return UNTOLD


def _both(one: Told, other: Told) -> Told:
    exact = one.exact and other.exact
    if one.where is None or other.where is None:
        return Told(one.where or other.where, exact)
    return Told(one.where & other.where, exact)


def _either(one: Told, other: Told) -> Told:
    if one.where is None or other.where is None:
        return UNTOLD
    return Told(one.where | other.where, one.exact and other.exact)


def match_text(field: str) -> Column:
    """A text whose case counts."""
    return lambda value: Told(Q(**{field: value})) if plain(value) else UNTOLD


def match_id(field: str) -> Column:
    """An id, in its one spelling."""
    return lambda value: Told(Q(**{field: found}) if (found := parse_id(value)) else Q(pk__in=()))


def plain(value: Any) -> bool:
    """Whether SCIM and every database compare this text alike: no folding of letters beyond ASCII, nothing missing."""
    return isinstance(value, str) and value.isascii() and "\0" not in value and value != ""
