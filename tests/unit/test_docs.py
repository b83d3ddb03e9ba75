"""The generated documents are current, complete and valid; and `docs/api.md` names every endpoint and its tests."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # it ships no types
from openapi_spec_validator import validate

from dev import asyncapi, docs
from dev.message_examples import EXAMPLES
from services.registry.api.openapi import operations
from services.registry.errors import (
    ForeignHostError,
    ForeignPageError,
    InternalError,
    MethodNotAllowedError,
    RefusedError,
    RegistryError,
    UnavailableError,
    UnknownPathError,
)
from shared.contracts.encoding import decoded
from shared.contracts.topology import WORK_QUEUES

ROOT: Final = docs.ROOT
OPENAPI: Final = docs.registry_document()
ASYNCAPI: Final = asyncapi.document()
OPERATIONS: Final = {f"{method.upper()} {path}": operation for path, method, operation in operations(OPENAPI)}
PROBLEMS: Final = {"Problem", "InvalidRequestProblem", "UnknownCaptureProblem"}
ROW: Final = re.compile(r"^\| `([A-Z]+ /\S*)` \| (.+?) \| (.*) \|$", re.MULTILINE)
TEST: Final = re.compile(r"`(tests/\S+\.py)::(\w+)`")

every_operation = pytest.mark.parametrize("name", OPERATIONS)


def resolved(part: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` within the document leads to; all else as it is."""
    while "$ref" in part:
        found: Any = document
        for key in part["$ref"].removeprefix("#/").split("/"):
            found = found[key.replace("~1", "/")]
        part = found
    return part


def responses(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Status and response of each answer of an operation."""
    for status, response in OPERATIONS[name]["responses"].items():
        yield int(status), resolved(response, OPENAPI)


def examples(media: dict[str, Any]) -> list[Any]:
    """Those of a request or an answer, from it or from its schema."""
    if "example" in media:
        return [media["example"]]
    if "examples" in media:
        return [example["value"] for example in media["examples"].values()]
    schema = media["schema"]
    if schema.get("type") == "array":
        return [[example] for example in resolved(schema["items"], OPENAPI).get("examples", ())]
    return list(resolved(schema, OPENAPI).get("examples", ()))


def assert_valid(example: object, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """The example is as the schema says, whose references lead into the document."""
    Draft202012Validator({**schema, "components": document["components"]}).validate(example)


@pytest.mark.parametrize("name", docs.DOCUMENTS)
def test_the_documents_are_current(name: str) -> None:
    """What is checked in is what the code says."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == docs.text_of(docs.DOCUMENTS[name]()), f"{name} is old: run `make docs`"


def test_the_documents_do_not_depend_on_where_they_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither on the environment nor on the folder."""
    monkeypatch.setenv("DATABASE_URL", "no URL at all")
    monkeypatch.setenv("PULL_SYNC_INTERVAL", "77")
    monkeypatch.chdir(tmp_path)
    made = {"docs/openapi.json": OPENAPI, "docs/asyncapi.json": ASYNCAPI}
    for name, document in made.items():
        text = docs.text_of(docs.DOCUMENTS[name]())
        assert text == docs.text_of(document)
        assert str(ROOT) not in text


# ---------------------------------------------------------------- HTTP


def test_the_http_document_is_valid() -> None:
    """By OpenAPI's own schema, references included."""
    validate(OPENAPI)


def test_each_operation_has_a_name_of_its_own() -> None:
    """Generated clients make methods of them."""
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)


@every_operation
def test_each_operation_is_described(name: str) -> None:
    """In short, at length, under a tag that is described, with each of its parameters."""
    operation = OPERATIONS[name]
    described = {tag["name"] for tag in OPENAPI["tags"] if tag["description"]}
    assert len(operation["tags"]) == 1
    assert set(operation["tags"]) <= described
    assert 5 < len(operation["summary"]) < 120
    assert operation["description"].startswith(operation["summary"])
    assert "Raises:" not in operation["description"]
    assert [each["name"] for each in operation.get("parameters", ()) if not each.get("description")] == []


@every_operation
def test_each_operation_has_examples_that_are_true(name: str) -> None:
    """Of its request, and of each answer with a body; each is as its schema says."""
    bodies = [OPERATIONS[name].get("requestBody", {"content": {}}), *(response for _, response in responses(name))]
    for media in (media for body in bodies for media in body.get("content", {}).values()):
        shown = examples(media)
        assert shown
        for example in shown:
            assert_valid(example, media["schema"], OPENAPI)


@every_operation
def test_each_operation_tells_its_problems(name: str) -> None:
    """As problem details, each kind with an example; `/health/ready` alone has another answer for 503."""
    problems = {status: response["content"] for status, response in responses(name) if status >= 400}
    if name == "GET /health/ready":
        assert "application/json" in problems.pop(503)
    assert 500 in problems
    for status, content in problems.items():
        [(media_type, media)] = content.items()
        assert media_type == "application/problem+json"
        schemas = media["schema"].get("anyOf", [media["schema"]])
        assert {each["$ref"].removeprefix("#/components/schemas/") for each in schemas} <= PROBLEMS
        assert all(example["status"] == status for example in examples(media))


@every_operation
def test_each_operation_tells_what_follows_from_its_shape(name: str) -> None:
    """A body may be too large or no JSON, a number may be none, and what has a name may be unknown."""
    operation = OPERATIONS[name]
    statuses = {status for status, _ in responses(name)}
    if "requestBody" in operation:
        assert {400, 413, 422} <= statuses
    if any(parameter["schema"].get("type") == "integer" for parameter in operation.get("parameters", ())):
        assert 422 in statuses
    if "{" in name:
        assert 404 in statuses


def taken(schema: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of a value within what an operation takes, and where it is."""
    schema = resolved(schema, OPENAPI)
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if "items" in schema:
        parts.append(schema["items"])
    for name, part in schema.get("properties", {}).items():
        yield from taken(part, f"{where}.{name}")
    for part in parts:
        yield from taken(part, where)
    if "type" in schema:
        yield where, schema


def is_bounded(schema: dict[str, Any]) -> bool:
    """Whether a value can't be of any size."""
    if "enum" in schema or "const" in schema or schema.get("format") in {"uuid", "date-time"}:
        return True
    wanted: dict[str, tuple[set[str], ...]] = {
        "string": ({"maxLength"},),
        "array": ({"maxItems"},),
        "integer": ({"minimum", "maximum"},),
        "number": ({"minimum", "maximum"},),
    }
    kind = schema["type"]
    return kind not in wanted or any(names <= set(schema) for names in wanted[kind])


@every_operation
def test_all_that_an_operation_takes_is_bounded(name: str) -> None:
    """Each text, list and number of its parameters and its body."""
    operation = OPERATIONS[name]
    schemas = [(parameter["name"], parameter["schema"]) for parameter in operation.get("parameters", ())]
    schemas += [("body", media["schema"]) for media in operation.get("requestBody", {}).get("content", {}).values()]
    found = [part for where, schema in schemas for part in taken(schema, where)]
    assert len(found) >= len(schemas)
    assert [where for where, schema in found if not is_bounded(schema)] == []


def test_who_may_come_again_is_told_when() -> None:
    """Each 429 has the headers that say so."""
    refused = {name: response for name in OPERATIONS for status, response in responses(name) if status == 429}
    assert len(refused) == 11
    for response in refused.values():
        assert set(response["headers"]) == {"Retry-After", "RateLimit-Policy", "RateLimit"}


def kinds(base: type[RegistryError]) -> Iterator[type[RegistryError]]:
    """Of the service, at any depth."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("services."):
            yield kind
        yield from kinds(kind)


def test_each_kind_of_problem_is_told_somewhere() -> None:
    """But for what is refused wherever it is asked, and those that only group others."""
    told = {slug for response in OPENAPI["components"]["responses"].values() for slug in _slugs(response)}
    nowhere = {kind.slug for kind in (UnknownPathError, MethodNotAllowedError, ForeignPageError, ForeignHostError)}
    groups = {UnavailableError.slug}
    assert told == {kind.slug for kind in kinds(RegistryError)} - nowhere - groups
    assert {InternalError.slug, RefusedError.slug} <= told


def _slugs(response: dict[str, Any]) -> Iterator[str]:
    for media in response["content"].values():
        yield from media["examples"]


# ---------------------------------------------------------------- messages


def test_every_reference_of_the_messages_document_leads_somewhere() -> None:
    """A channel that is renamed is renamed everywhere."""
    found = re.findall(r'"\$ref": "(#/[^"]+)"', json.dumps(ASYNCAPI))
    assert len(found) > 20
    for reference in found:
        assert resolved({"$ref": reference}, ASYNCAPI)


def test_every_queue_is_a_channel_with_its_arguments() -> None:
    """The work queues, their delays and their dead letters, as they are declared."""
    for queue in WORK_QUEUES:
        channel = ASYNCAPI["channels"][queue.name]
        assert channel["address"] == queue.routing()
        assert channel["bindings"]["amqp"]["x-exchanges"] == ["pullsync"]
        assert channel["bindings"]["amqp"]["x-arguments"].items() >= {"x-overflow": "reject-publish"}.items()
        dead = ASYNCAPI["channels"][f"{queue.name}.dead"]
        assert dead["bindings"]["amqp"]["x-exchanges"] == ["pullsync.dead"]
        assert dead["messages"] == channel["messages"]
    assert {flow.queue.name for flow in asyncapi.FLOWS} == {queue.name for queue in WORK_QUEUES}
    assert ASYNCAPI["channels"]["ingest.acknowledgements.after-30s"]["address"] == "captures.acknowledge.after-30s"


def test_the_examples_of_messages_are_true() -> None:
    """Each is read by its model, and is as its schema says."""
    assert len(EXAMPLES) == len(asyncapi.FLOWS)
    for flow in asyncapi.FLOWS:
        message = ASYNCAPI["components"]["messages"][flow.message.__name__]
        assert "Repeating it" in message["description"]
        [example] = message["examples"]
        assert decoded(flow.message, json.dumps(example["payload"])) in EXAMPLES
        assert_valid(example["payload"], message["payload"], ASYNCAPI)


def calls_of_services() -> Iterator[tuple[str, str, ast.Call]]:
    """Each call in a service's code: the service, the name of what is called, the call."""
    for path in ROOT.glob("services/*/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
                yield path.parts[-2], name, node


def test_who_receives_is_who_subscribes() -> None:
    """Each service subscribes, with the message's decoder, to the queues that are said to be read by it."""
    subscribed = {
        (service, *_subscription(call))
        for service, name, call in calls_of_services()
        if name == "subscriber" and call.keywords
    }
    names = {id(value): name for name, value in vars(asyncapi).items()}
    assert subscribed == {(flow.receiver, names[id(flow.queue)], flow.message.__name__) for flow in asyncapi.FLOWS}


def _subscription(call: ast.Call) -> tuple[str, str]:
    """The names of the queue and of the message."""
    queue = call.args[0]
    [decoder] = (keyword.value for keyword in call.keywords if keyword.arg == "decoder")
    assert isinstance(queue, ast.Name)
    assert isinstance(decoder, ast.Call)
    assert isinstance(decoder.args[0], ast.Name)
    return queue.id, decoder.args[0].id


def test_who_sends_is_who_makes_the_message() -> None:
    """And nobody else does."""
    made = {(service, "PullSettled" if name == "Settlements" else name) for service, name, _ in calls_of_services()}
    messages = {flow.message.__name__ for flow in asyncapi.FLOWS}
    sent = {(sender, flow.message.__name__) for flow in asyncapi.FLOWS for sender in flow.senders}
    assert {(service, name) for service, name in made if name in messages} == sent


# ---------------------------------------------------------------- docs/api.md


def api_rows() -> dict[str, tuple[str, str]]:
    """Purpose and tests by endpoint."""
    rows = ROW.findall((docs.DOCS / "api.md").read_text(encoding="utf-8"))
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (purpose, tests) for name, purpose, tests in rows}


def test_the_table_names_every_endpoint() -> None:
    """And of the registry none that there is not."""
    rows = api_rows()
    assert set(OPERATIONS) - set(rows) == set()
    assert {name for name in rows if "/api/client/" not in name} == set(OPERATIONS)
    assert len([name for name in rows if "/api/client/" in name]) == 8


def test_each_endpoint_is_shown_by_tests_that_exist() -> None:
    """At least one each."""
    tests = {
        (str(path.relative_to(ROOT)), node.name)
        for path in ROOT.glob("tests/*/test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    without: list[str] = []
    for name, (_, cell) in api_rows().items():
        named = set(TEST.findall(cell))
        assert named <= tests, f"{name}: no such test: {named - tests}"
        if not named:
            without.append(name)
    assert without == []


def test_each_attack_that_security_tells_of_has_its_test() -> None:
    """Every test that `docs/security.md` names is there, and each attack names one at least, or a file of them."""
    text = (docs.DOCS / "security.md").read_text(encoding="utf-8")
    attacks = [line for line in text.partition("## Attacks and tests")[2].splitlines() if line.startswith("| ")]
    rows = [line for line in attacks if not line.startswith("| attack ")]
    assert len(rows) > 40
    without = []
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", row.rpartition(" | ")[2])
        missing = [
            (path, name)
            for path, name in named
            if not (ROOT / path).is_file()
            or (name and not re.search(rf"\bdef {name}\b", (ROOT / path).read_text(encoding="utf-8")))
        ]
        assert missing == [], f"no such test: {missing}"
        if not named:
            without.append(row)
    assert without == []
