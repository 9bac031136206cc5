"""SCIM filters (RFC 7644 §3.4.2.2) as conditions of the database, where they can be told exactly; else not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Q
from scim2_models import ScimFilter
from scim2_models.path import CompareOperator, Comparison, FilterVisitor, LogicalExpr, LogicalOperator, Not, Present, ValuePath

# the condition for "attribute eq value", None where the database would not say the same as SCIM
Column = Callable[[Any], Q | None]


class Untold(Exception):
    """The database cannot tell; resources have to be looked at one by one."""


def translate(found: ScimFilter[Any] | None, columns: Mapping[str, Column]) -> Q | None:
    """The filter as a condition; None if it cannot be told. `columns`: by the attribute's URN in small letters."""
    if found is None:
        return Q()
    try:
        return _Translator(found, columns).visit(found.ast)
    except Untold:
        return None


class _Translator(FilterVisitor[Q]):
    def __init__(self, found: ScimFilter[Any], columns: Mapping[str, Column]) -> None:
        self.filter, self.columns = found, columns

    def visit_comparison(self, node: Comparison) -> Q:
        binding = self.filter.resolve_comparison(node.attr_path, strict=False)
        column = self.columns.get(binding.urn.lower()) if binding else None
        condition = column(node.value) if column and node.op == CompareOperator.eq else None
        if condition is None:
            raise Untold
        return condition

    def visit_logical_expr(self, node: LogicalExpr) -> Q:
        whole, *others = [self.visit(term) for term in node.terms]
        for other in others:
            whole = whole & other if node.op == LogicalOperator.and_ else whole | other
        return whole

    def visit_not(self, node: Not) -> Q:
        return ~self.visit(node.expr)

    def visit_present(self, node: Present) -> Q:
        raise Untold

    def visit_value_path(self, node: ValuePath) -> Q:
        raise Untold


def match_text(field: str) -> Column:
    """A text whose case counts."""
    return lambda value: Q(**{field: value}) if plain(value) else None


def plain(value: Any) -> bool:
    """Whether SCIM and every database compare this text alike: no folding of letters beyond ASCII, nothing missing."""
    return isinstance(value, str) and value.isascii() and "\0" not in value and value != ""
