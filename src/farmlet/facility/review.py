"""Collects every fault of a document, so that a person mends them all in one go."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from farmlet.errors import Errors, InputError
from farmlet.facility.document import Document, Fault, Keys

Model = TypeVar("Model", bound=BaseModel)
COLLECTIONS = {"model_type", "dict_type", "mapping_type", "model_attributes_type", "dataclass_type"}


class Review:
    """The faults of one document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.faults = list(document.faults)

    def add(self, keys: Keys, what: str, hint: str = "") -> None:
        """Note a fault at a key or item, unless that could not even be read."""
        if not any(keys[:end] in self.document.broken for end in range(len(keys) + 1)):
            self.faults.append(Fault(keys, self.document.line(keys), what, hint))

    def check(self, model: type[Model], keys: Keys, data: object, context: Mapping[str, Any] | None = None) -> Model | None:
        """`data`, found at `keys`, as a `model`; None after noting what is wrong with it."""
        try:
            return model.model_validate(data, context=dict(context or {}))
        except ValidationError as error:
            for detail in error.errors():
                where = (*keys, *detail["loc"])
                what, hint = _explain(detail, model)
                self.add(where, f"{'.'.join(map(str, where))}: {what}", hint)
            return None

    def close(self) -> None:
        """Raise Errors if there are any, by line; those of one line as they were found."""
        if self.faults:
            name = self.document.name
            ordered = sorted(self.faults, key=lambda fault: fault.line)
            raise Errors([InputError(f"{name}:{fault.line}", fault.what, fault.hint) for fault in ordered])


def suggest(word: str, known: Iterable[str]) -> str:
    """A hint: the known word that is most like `word`, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if known else ""


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and a hint, from one of pydantic's findings."""
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "farmlet":
        return context["what"], context["hint"]
    if kind == "extra_forbidden":
        return "unknown key", suggest(str(detail["loc"][-1]), _keys_of(model, detail["loc"][:-1]))
    if kind == "missing":
        return "is missing", ""
    if kind in COLLECTIONS:
        return f"should be a mapping (`key: value`), not {value!r}", ""
    if kind == "tuple_type":
        return f"should be a list (`[a, b]`), not {value!r}", ""
    what = detail["msg"].removeprefix("Value error, ").replace("Input should be", "should be", 1)
    if kind == "literal_error":
        return f"{what}, not {value!r}", _nearest(value, re.findall(r"'([^']*)'", context["expected"]))
    return f"{what}, not {value!r}" if what.startswith("should") else what, ""


def _nearest(value: object, known: list[str]) -> str:
    """As `suggest`, but silent without a likely one: the message lists them all."""
    return suggest(value, known) if isinstance(value, str) and difflib.get_close_matches(value, known) else ""


def _keys_of(model: type[BaseModel], keys: Keys) -> list[str]:
    """The keys that are known at `keys` below `model`, for suggestions only."""
    models = [model]
    for key in keys:
        below = [
            inner
            for outer in models
            if key in outer.model_fields
            for inner in _models_in(outer.model_fields[str(key)].annotation)
        ]
        models = below or models
    return [name for found in models for name in found.model_fields]


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
