"""The route table as an OpenAPI 3.1 document: paths, parameters, bodies, and what each answers with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from mrpack_runtime.gateway.descriptions import EVENTS, JSON, Description, description_of, is_needed
from mrpack_runtime.gateway.errors import openai_shape
from mrpack_runtime.gateway.guard import Scope
from mrpack_runtime.protocols.anthropic.answer import anthropic_error
from mrpack_runtime.protocols.ollama.answer import ollama_error

if TYPE_CHECKING:
    from mrpack_runtime.gateway.errors import ErrorShape
    from mrpack_runtime.gateway.routes import Route

JsonObject = dict[str, Any]

_TEXT: Final[JsonObject] = {"type": "string"}
_MAYBE: Final[JsonObject] = {"type": ["string", "null"]}
# By the function that makes them.
_ERRORS: Final[dict[ErrorShape, tuple[str, JsonObject]]] = {
    openai_shape: (
        "Error",
        {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {"message": _TEXT, "type": _TEXT, "param": _MAYBE, "code": _TEXT},
                }
            },
        },
    ),
    anthropic_error: (
        "AnthropicError",
        {
            "type": "object",
            "required": ["type", "error"],
            "properties": {
                "type": {"const": "error"},
                "error": {
                    "type": "object",
                    "required": ["type", "message"],
                    "properties": {"type": _TEXT, "message": _TEXT},
                },
            },
        },
    ),
    ollama_error: (
        "OllamaError",
        {"type": "object", "required": ["error"], "properties": {"error": _TEXT}},
    ),
}


def describe(version: str, routes: Iterable[tuple[str, Route]]) -> JsonObject:
    """The whole document; `routes` with their whole paths."""
    paths: dict[str, JsonObject] = {}
    for path, route in routes:
        paths.setdefault(path, {})[route.method.lower()] = _operation(path, route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "mrpack", "version": version, "summary": "AI models served from OCI artifacts"},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(_ERRORS.values()),
        },
        "paths": dict(sorted(paths.items())),
    }


def _operation(path: str, route: Route) -> JsonObject:
    words = (route.handler.__doc__ or "").partition("\n")[0]
    says = description_of(route.method, path)
    operation: JsonObject = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{path}").strip("_"),
        "summary": words,
        "tags": [str(route.scope)],
        "security": [] if route.scope is Scope.OPEN else [{}, {"key": []}],
        "responses": _responses(says, route.errors),
    }
    if parameters := [
        *(_parameter(name, "path", _TEXT | {"minLength": 1}) for name in re.findall(r"\{(\w+)\}", path)),
        *(_parameter(name, "query", schema) for name, schema in says.query.items()),
    ]:
        operation["parameters"] = parameters
    if says.body is not None:
        operation["requestBody"] = {"required": True, "content": {says.takes: {"schema": says.body}}}
    return operation


def _parameter(name: str, place: str, schema: JsonObject) -> JsonObject:
    needed = place == "path" or is_needed(name)
    return {"name": name, "in": place, "required": needed, "schema": schema}


def _responses(says: Description, errors: ErrorShape) -> JsonObject:
    name, _ = _ERRORS[errors]
    wrong: JsonObject = {
        "description": "what went wrong; docs/serving.md lists the codes",
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }
    if not says.status:
        return {"501": wrong | {"description": "it is not done here"}, "default": wrong}
    right: JsonObject = {
        "description": "the answer, or its stream" if EVENTS in says.answers else "the answer"
    }
    if says.answers:
        right["content"] = {kind: {} for kind in says.answers}
    return {says.status: right, "default": wrong}
