"""No value that comes from outside is ever a part of an SQL text: all of them are parameters.

Every query is in a `.sql` file, and the code passes it on as it is. What builds SQL from parts is listed here, and is
made of nothing but constants.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CODE: Final = sorted(
    path for part in ("services", "shared") for path in (ROOT / part).rglob("*.py") if "migrations" not in path.parts
)
MIGRATIONS: Final = sorted((ROOT / "services").glob("*/migrations/*.py"))
QUERIES: Final = {
    f"{path.relative_to(ROOT)}: {name}": body
    for path in sorted((ROOT / "services").rglob("*.sql"))
    for name, body in re.findall(
        r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
}

RUNNING: Final = {
    "execute": 0,
    "executemany": 0,
    "executescript": 0,
    "execute_fetchall": 0,
    "execute_insert": 0,
    "fetch": 0,
    "fetchrow": 0,
    "fetchval": 0,
    "fetchmany": 0,
    "prepare": 0,
    "cursor": 0,
    "copy_from_query": 0,
    "text": 0,
    "fetch_one": 1,
}
"""What runs SQL, or makes a statement of it, with the place of the text among the arguments."""

CONSTANT_BUT: Final = {
    ("shared/postgres/migrations.py", "_upgrade", "text(f'CREATE SCHEMA \"{schema}\"')"),
    (
        "shared/postgres/migrations.py",
        "_upgrade",
        "text(f'COMMENT ON TABLE \"{schema}\".alembic_version IS $$bearable by {int(oldest):04}$$')",
    ),
}
"""Built from parts: the schema is a constant of each service's `app.py`, which the test below looks at; the other is a
number."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def statements(path: Path) -> Iterator[tuple[Function | None, ast.Call, ast.expr]]:
    """Each call that runs SQL: the function that it is in, the call, and its text."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: dict[int, Function] = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
        inside |= {id(node): function for node in ast.walk(function)}  # inner functions come later
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in RUNNING and len(call.args) > RUNNING[name]:
            yield inside.get(id(call)), call, call.args[RUNNING[name]]


def is_from_a_file(text: ast.expr, function: Function | None) -> bool:
    """A text that stands in the code, or `queries[...]`, or a name for one of both."""
    match text:
        case ast.IfExp():
            return is_from_a_file(text.body, function) and is_from_a_file(text.orelse, function)
        case ast.Subscript():
            return ast.unparse(text.value) in {"queries", "self._queries"}
        case ast.Name() if function is not None:
            return names_one_from_a_file(text, function)
    # What `text` is given is looked at by itself; the schema is a query that the client's `app.py` hands over.
    return (
        isinstance(text, ast.Constant) or ast.unparse(text).startswith("text(") or ast.unparse(text) == "self._schema"
    )


def names_one_from_a_file(text: ast.Name, function: Function) -> bool:
    """Whether all that the name stands for in this function is from a file."""
    parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    values = [value for name, value in assigned(function) if name == text.id]
    if text.id in parameters:
        return text.id == "query"  # of `fetch_one`, whose callers are looked at
    return bool(values) and all(is_from_a_file(value, function) for value in values)


def assigned(function: Function) -> Iterator[tuple[str, ast.expr]]:
    """Names and what they stand for, also those of loops over a constant."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.Constant(value="") if is_upper(node.iter) else node.iter


def is_upper(node: ast.expr) -> bool:
    """Whether it is a constant of the module."""
    return isinstance(node, ast.Name) and node.id.strip("_").isupper()


def test_every_statement_of_the_code_comes_from_a_file() -> None:
    """As it is: nothing is formatted, added or joined to it."""
    found = [(path, *each) for path in CODE for each in statements(path)]
    assert len(found) > 60
    built = {
        (str(path.relative_to(ROOT)), function.name if function else "", ast.unparse(call))
        for path, function, call, text in found
        if not is_from_a_file(text, function)
    }
    assert built == CONSTANT_BUT


def test_the_schemas_are_constants() -> None:
    """`CREATE SCHEMA` takes no parameter; its name is fixed in the code."""
    for service in ("registry", "ingest"):
        tree = ast.parse((ROOT / "services" / service / "app.py").read_text(encoding="utf-8"))
        [call] = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "migrate"]
        schemas = [keyword.value for keyword in call.keywords if keyword.arg == "schema"]
        assert [ast.unparse(schema) for schema in schemas] == ["SCHEMA"]
        constants = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
        assert isinstance(constants["SCHEMA"], ast.Constant)


@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: str(path.relative_to(ROOT / "services")))
def test_migrations_know_nothing_but_themselves(path: Path) -> None:
    """They may build statements, of constants: they read no row, no file and no environment."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    assert imported <= {"from alembic import op", "from __future__ import annotations"}
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    of_texts = {name for name in called if name.rpartition(".")[2] in {"format", "replace", "upper", "items"}}
    assert called <= {"op.execute", "range", *of_texts}
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    assert all(not function.args.args for function in functions)


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_has_parameters_only(name: str) -> None:
    """No place in it is filled in by formatting, and no statement is put together inside the database."""
    text = re.sub(r"--.*", "", QUERIES[name])
    assert not re.search(r"%[sdr(]|\{\w*\}(?!')|\?", text), "a place for formatting"
    assert not re.search(r"\b(EXECUTE|format|quote_ident|quote_literal|query_to_xml|dblink)\b(?!\s+FUNCTION)", text)
    numbers = {int(number) for number in re.findall(r"\$(\d+)", text)}
    assert numbers == set(range(1, len(numbers) + 1))


def test_no_function_in_the_database_builds_a_statement() -> None:
    """Triggers and functions of the migrations run what is written in them."""
    for path in MIGRATIONS:
        text = re.sub(r"EXECUTE (FUNCTION|PROCEDURE)|op\.execute", "", path.read_text(encoding="utf-8"))
        assert not re.search(r"\bEXECUTE\b|quote_ident|quote_literal|\bformat\(", re.sub(r"\.format\(", "", text))
