"""The registry's OpenAPI document: what FastAPI reads out of the routes, with problems, examples and stable names.

A route's docstring is its description, and the docstring's first sentence its summary. What code can't tell, the
problems and the examples of each operation, is in `services.registry.api.documented`. It is `docs/openapi.json`, too.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from services.registry.access import ForbiddenError, UnauthenticatedError
from services.registry.api.documented import (
    ANSWERED_WHILE_STARTING,
    OPERATIONS,
    PARAMETERS,
    TAGS,
    WITH_CAPTURES,
    WITHOUT_DATABASE,
    Documented,
)
from services.registry.api.examples import NEVER_SEEN
from services.registry.api.permissions import NEEDS, OF_OWN, Need
from services.registry.api.problems import MEDIA_TYPE, URN, InvalidRequestProblem, Problem
from services.registry.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    CapturesNotReadyError,
    DatabaseAwayError,
    DatabaseIllError,
    DatabaseRefusesError,
    InternalError,
    InvalidRequestError,
    MalformedBodyError,
    RegistryError,
    StartingError,
    TooManyRequestsError,
    UndecodableUrlError,
)
from services.registry.routes.captures import UnknownCaptureError, UnknownCaptureProblem
from shared.contracts.claims import Claims
from shared.contracts.message_schemas import SCHEMAS, schemas_of

_DESCRIPTION: Final = """PullSync collects captures from devices by pulling. This is its only front door.

Every error is a problem of RFC 9457: `type` tells its kind and never changes, `detail` is one sentence for people.
Web pages of other origins that are not named are refused (403, `foreign-page`). While there are no tokens, so are names
that are not known to be the registry's own (421, `foreign-host`).

Times are ISO 8601 in UTC. Lists that come in pages name the next one in the header `Link` (`rel="next"`)."""

_BEARER: Final = "bearer"
_TOKENS: Final = "What is needed where tokens are set (OPERATOR_TOKENS and others); without, everybody is an operator."
_REFUSALS: Final[Mapping[Need, tuple[type[RegistryError], ...]]] = {
    **dict.fromkeys(Need, (UnauthenticatedError, ForbiddenError)),
    **dict.fromkeys(OF_OWN, (UnauthenticatedError, ForbiddenError, TooManyRequestsError)),
    Need.SERVICE: (UnauthenticatedError,),
    Need.NOTHING: (),
}
_PROBLEMS: Final[Mapping[type[RegistryError], type[Problem]]] = {
    InvalidRequestError: InvalidRequestProblem,
    UnknownCaptureError: UnknownCaptureProblem,
}
"""Those that say more than others."""
_SCHEMAS: Final = "#/components/schemas/{model}"
_NOTHING: Final = Documented()
_INVALID: Final = str(InvalidRequestError.status)
_LATER: Final = {
    "Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 0}},
    "RateLimit-Policy": {
        "description": "What is allowed, by draft-ietf-httpapi-ratelimit-headers: `q` requests in `w` seconds.",
        "schema": {"type": "string"},
        "example": '"syncs-60s";q=60;w=60',
    },
    "RateLimit": {
        "description": "What is left of that: `r` requests for the next `t` seconds.",
        "schema": {"type": "string"},
        "example": '"syncs-60s";r=0;t=42',
    },
}

Json = dict[str, Any]


def describe(app: FastAPI) -> FastAPI:
    """The app, which serves this document from now on; to be called once, after all routes were added."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # so FastAPI's documentation says
    return app


def document(app: FastAPI) -> Json:
    """The whole document, the same at each call."""
    schema = get_openapi(
        title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes, tags=list(TAGS)
    )
    problems: Json = {}
    for _path, _method, operation in operations(schema):
        _word(operation)
        _exemplify(operation)
        _protect(operation)
        problems |= _refuse(operation)
    components: Json = schema["components"]
    components["schemas"] = dict(sorted(_schemas(components["schemas"]).items()))
    components["responses"] = dict(sorted(problems.items()))
    components["securitySchemes"] = {_BEARER: {"type": "http", "scheme": "bearer", "description": _TOKENS}}
    return schema


def _schemas(found: Json) -> Json:
    """With those of problems instead of FastAPI's own, and of the structs, which FastAPI does not know."""
    models = [(model, "serialization") for model in (Problem, *_PROBLEMS.values())]
    _, ours = models_json_schema(cast("Any", models), ref_template=_SCHEMAS)
    kept = {name: schema for name, schema in found.items() if name not in {"HTTPValidationError", "ValidationError"}}
    return {**kept, **ours["$defs"], **schemas_of([Claims])}


def operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method and operation of each operation in an OpenAPI document."""
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def _word(operation: Json) -> None:
    """Summary and description from the docstring, and what is to be said of parameters by their name."""
    text = operation.get("description", "").split("\n\nRaises:")[0].strip()
    operation["description"] = text
    operation["summary"] = re.split(r"[.:;](?:\s|$)", text, maxsplit=1)[0].replace("\n", " ")
    for parameter in operation.get("parameters", ()):
        for member, value in PARAMETERS.get(parameter["name"], {}).items():
            parameter.setdefault(member, value)


def _protect(operation: Json) -> None:
    """Say which token it takes, where tokens are in use."""
    need = NEEDS[operation["operationId"]]
    if need is not Need.NOTHING:
        operation["security"] = [{_BEARER: []}]
        operation["description"] += f"\n\nToken: {need}."


def _exemplify(operation: Json) -> None:
    """Examples of the request and of each answer, where they do not stand in the schemas themselves."""
    documented = OPERATIONS.get(operation["operationId"], _NOTHING)
    body = operation.get("requestBody", {}).get("content", {})
    for media in body.values():
        if documented.request is not None:
            media["example"] = documented.request
    for status, example in documented.answers.items():
        for media in operation["responses"].get(str(status), {}).get("content", {}).values():
            media["example"] = example
            if media.pop("itemSchema", None):  # of OpenAPI 3.2, while FastAPI says that this is 3.1
                media["schema"] = {"type": "string"}


def _refuse(operation: Json) -> Json:
    """Name the problems that an operation may answer with, instead of FastAPI's own shape of a 422; their responses."""
    kinds: dict[str, list[type[RegistryError]]] = {}
    for kind in _kinds(operation):
        kinds.setdefault(str(kind.status), []).append(kind)
    names = {status: "_or_".join(kind.slug for kind in of_status) for status, of_status in kinds.items()}
    responses = {status: body for status, body in operation["responses"].items() if status != _INVALID}
    responses |= {status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items()}
    operation["responses"] = dict(sorted(responses.items()))
    return {names[status]: _response(of_status) for status, of_status in kinds.items()}


def _kinds(operation: Json) -> Iterator[type[RegistryError]]:
    yield InternalError
    yield from _REFUSALS[NEEDS[operation["operationId"]]]
    if _INVALID in operation["responses"] and _can_be_invalid(operation):
        yield InvalidRequestError
    if operation["operationId"] not in ANSWERED_WHILE_STARTING:
        yield StartingError
    if operation.get("parameters"):
        yield UndecodableUrlError
    if "requestBody" in operation:
        yield MalformedBodyError
        yield BodyTooSlowError
        yield BodyTooLargeError
    if WITHOUT_DATABASE.isdisjoint(operation["tags"]):
        yield DatabaseAwayError
        yield DatabaseIllError
        yield DatabaseRefusesError
    if not WITH_CAPTURES.isdisjoint(operation["tags"]):
        yield CapturesNotReadyError
    yield from OPERATIONS.get(operation["operationId"], _NOTHING).refusals


def _can_be_invalid(operation: Json) -> bool:
    """Whether it takes more than texts of which each is as good as another."""
    schemas = (parameter["schema"] for parameter in operation.get("parameters", ()))
    return "requestBody" in operation or any(set(schema) - {"type", "title", "description"} for schema in schemas)


def _response(kinds: list[type[RegistryError]]) -> Json:
    """One status of an operation, with an example for each kind of problem that has it."""
    models = sorted({_PROBLEMS.get(kind, Problem).__name__ for kind in kinds})
    schemas = [{"$ref": SCHEMAS.format(name=name)} for name in models]
    response: Json = {
        "description": "; ".join(kind.title for kind in kinds),
        "content": {
            MEDIA_TYPE: {
                "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas},
                "examples": {kind.slug: {"summary": kind.title, "value": _problem(kind)} for kind in kinds},
            }
        },
    }
    if any(kind.status == 429 for kind in kinds):  # noqa: PLR2004 - the one that says when
        response["headers"] = _LATER
    return response


def _problem(kind: type[RegistryError]) -> Mapping[str, object]:
    """How a problem of this kind may look; its sentence is the class' own."""
    shape = {"type": f"{URN}{kind.slug}", "title": kind.title, "status": kind.status}
    if kind is InvalidRequestError:
        fault = {"field": "limit", "detail": "Input should be a valid integer"}
        return {**shape, "detail": f"{fault['field']}: {fault['detail']}", "errors": [fault]}
    if kind is UnknownCaptureError:
        return {**shape, "detail": NEVER_SEEN["summary"], "whereabouts": NEVER_SEEN}
    return {**shape, "detail": (inspect.getdoc(kind) or kind.title).splitlines()[0]}
