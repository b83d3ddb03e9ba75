"""JSON schemas of messages for the documents: msgspec's own, with what the code says below each field."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import msgspec

from shared.contracts.messages import Message, Part

SCHEMAS: Final = "#/components/schemas/{name}"
"""Where OpenAPI and AsyncAPI have schemas."""

Json = dict[str, Any]


def schemas_of(kinds: Iterable[type[Message | Part]]) -> Json:
    """The schemas of these and of all that they are made of, by name; references are as in `SCHEMAS`."""
    _, schemas = msgspec.json.schema_components(kinds, ref_template=SCHEMAS)
    for kind in (*Message.__subclasses__(), *Part.__subclasses__()):
        if kind.__name__ in schemas:
            for name, text in attribute_docstrings(kind).items():
                schemas[kind.__name__]["properties"][name]["description"] = text
    return schemas


def attribute_docstrings(kind: type) -> dict[str, str]:
    """By attribute the string that follows it in the class' source; Python itself does not keep it."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)  # noqa: S101 - a class in a module
    found: dict[str, str] = {}
    for statement, following in pairwise(definition.body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
