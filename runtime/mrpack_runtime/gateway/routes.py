"""The route table: every path that the gateway answers is one row, or one row for three prefixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final

from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway import (
    configure,
    control,
    management,
    models,
    observe,
    ollama,
    proxy,
    recorded,
    tokens,
    translated,
)
from mrpack_runtime.gateway.call import Call, Handler, Match, Route
from mrpack_runtime.gateway.errors import ErrorShape, MethodNotAllowed, RouteNotFound, openai_shape
from mrpack_runtime.gateway.guard import Scope
from mrpack_runtime.gateway.heads import JSON_TYPE
from mrpack_runtime.gateway.openapi import describe
from mrpack_runtime.protocols.anthropic.answer import anthropic_error
from mrpack_runtime.protocols.ollama.answer import ollama_error

if TYPE_CHECKING:
    from mrpack_runtime.gateway.exchange import Reply


def _inference(
    path: str,
    operation: Operation,
    *,
    handler: Handler = proxy.infer,
    stream_end: bytes = b"data: [DONE]",
) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=handler,
        scope=Scope.INFERENCE,
        operation=operation,
        upstream=f"/v1{path}",
        stream_end=stream_end,
    )


def _translated(
    path: str, handler: Handler, operation: Operation | None, errors: ErrorShape = openai_shape
) -> Route:
    return Route(
        method="POST", path=path, handler=handler, scope=Scope.INFERENCE, operation=operation, errors=errors
    )


def _read(path: str, handler: Handler, errors: ErrorShape = openai_shape, *, method: str = "GET") -> Route:
    return Route(method=method, path=path, handler=handler, scope=Scope.INFERENCE, errors=errors)


def _manage(method: str, path: str, handler: Handler, errors: ErrorShape = openai_shape) -> Route:
    return Route(method=method, path=path, handler=handler, scope=Scope.MANAGEMENT, errors=errors)


def _open(path: str, handler: Handler) -> Route:
    return Route(method="GET", path=path, handler=handler, scope=Scope.OPEN)


def _below(prefixes: tuple[str, ...], routes: tuple[Route, ...]) -> tuple[Route, ...]:
    return tuple(replace(route, path=prefix + route.path) for prefix in prefixes for route in routes)


# Literal first segments: an engine must not have one of these names.
RESERVED: Final = frozenset(
    {"v1", "status", "ps", "df", "unload", "requests", "responses", "rerank", "score", "_configure"}
    | {"install-backend", "uninstall-backend", "tokenize", "detokenize", "apply-template"}
)
OPENAI_PREFIXES: Final = ("/engines/{engine}/v1", "/engines/v1", "/v1")

_RESPONSES: Final = (
    _translated("/responses", translated.create_response, Operation.COMPLETION),
    _translated("/responses/input_tokens", tokens.input_tokens, Operation.COMPLETION),
    _translated("/responses/compact", translated.compact_response, None),
    _read("/responses/{id}", translated.show_response),
    _read("/responses/{id}", translated.delete_response, method="DELETE"),
    _read("/responses/{id}/input_items", translated.input_items),
    _read("/responses/{id}/cancel", translated.cancel_response, method="POST"),
)
_MESSAGES: Final = (
    _translated("/messages", translated.messages, Operation.COMPLETION, anthropic_error),
    _translated("/messages/count_tokens", tokens.count_tokens, Operation.COMPLETION, anthropic_error),
)
_CLAUDES_MODELS: Final = (
    _read("/models", models.list_models, anthropic_error),
    _read("/models/{model}", models.show_model, anthropic_error),
)
# vLLM and Docker Model Runner have them beside `/v1`, others below.
_UNVERSIONED: Final = (
    _translated("/rerank", translated.rerank, Operation.RERANKING),
    _translated("/score", translated.score, Operation.RERANKING),
    _translated("/tokenize", tokens.tokenize, None),
    _translated("/detokenize", tokens.detokenize, None),
    _translated("/apply-template", tokens.apply_template, None),
)

# Below each of OPENAI_PREFIXES.
OPENAI_ROUTES: Final = (
    _inference("/chat/completions", Operation.COMPLETION, handler=translated.generate),
    _inference("/completions", Operation.COMPLETION, handler=translated.generate),
    _inference("/embeddings", Operation.EMBEDDING, handler=translated.embeddings),
    _inference("/images/generations", Operation.IMAGE_GENERATION, stream_end=b""),
    _inference("/images/edits", Operation.IMAGE_GENERATION, handler=proxy.infer_form, stream_end=b""),
    _read("/models", models.list_models),
    _read("/models/{model}", models.show_model),
    *_RESPONSES,
    *_MESSAGES,
    *_UNVERSIONED,
)


async def _openapi(call: Call) -> Reply:
    """GET /openapi.json: this table, described."""
    return call.text(_document(call.gateway.version), JSON_TYPE)


@lru_cache(maxsize=1)
def _document(version: str) -> str:
    """Takes 30 ms to write, and everybody may ask for it."""
    return json.dumps(describe(version, mounted()), ensure_ascii=False)


_CONTROL: Final = (
    _open("/", control.root),
    _open("/health", control.health),
    _open("/ready", control.ready),
    _open("/version", control.version),
    _open("/openapi.json", _openapi),
    _read("/metrics", observe.metrics),
    _read("/engines/status", control.status),
    _read("/engines/ps", control.ps),
    _read("/engines/df", control.df),
    _manage("POST", "/engines/unload", control.unload),
    _manage("GET", "/engines/_configure", configure.configured),
    _manage("POST", "/engines/_configure", configure.configure),
    _manage("POST", "/engines/{engine}/_configure", configure.configure),
    _manage("GET", "/engines/requests", recorded.requests),
    _manage("POST", "/engines/install-backend", configure.install),
    _manage("POST", "/engines/uninstall-backend", configure.uninstall),
    _manage("GET", "/logs", control.logs),
)
_MODELS: Final = (
    _read("/models", management.list_models),
    _read("/models/{model}", management.show_model),
    _read("/models/{model}/json", management.show_model),
    _manage("GET", "/models/{model}/export", management.export),
    _manage("POST", "/models/create", management.create),
    _manage("POST", "/models/load", management.load),
    _manage("POST", "/models/prune", management.prune),
    _manage("DELETE", "/models/purge", management.purge),
    _manage("DELETE", "/models/{model}", management.delete),
    _manage("POST", "/models/{model}/tag", management.tag),
    _manage("POST", "/models/{model}/push", management.push),
    _manage("POST", "/models/{model}/repackage", management.repackage),
)
_OLLAMA: Final = (
    _translated("/api/chat", ollama.chat, Operation.COMPLETION, ollama_error),
    _translated("/api/generate", ollama.generate, Operation.COMPLETION, ollama_error),
    _translated("/api/embed", ollama.embed, Operation.EMBEDDING, ollama_error),
    _translated("/api/embeddings", ollama.legacy_embed, Operation.EMBEDDING, ollama_error),
    _read("/api/version", ollama.version, ollama_error),
    _read("/api/status", ollama.status, ollama_error),
    _read("/api/tags", ollama.tags, ollama_error),
    _read("/api/ps", ollama.ps, ollama_error),
    _read("/api/show", ollama.show, ollama_error, method="POST"),
    _manage("POST", "/api/pull", ollama.pull, ollama_error),
    _manage("POST", "/api/push", ollama.push, ollama_error),
    _manage("POST", "/api/copy", ollama.copy, ollama_error),
    _manage("DELETE", "/api/delete", ollama.delete, ollama_error),
    _manage("POST", "/api/create", ollama.create, ollama_error),
    _manage("POST", "/api/blobs/{id}", ollama.create, ollama_error),
)

ROUTES: Final = (
    *_CONTROL,
    *_MODELS,
    *_OLLAMA,
    *_below(("/engines", ""), _RESPONSES),
    *_below(("/anthropic/v1",), (*_MESSAGES, *_CLAUDES_MODELS)),
    *_below(("/engines/{engine}", "/engines", ""), _UNVERSIONED),
)


def mounted(
    rows: Iterable[Route] = ROUTES, openai: Iterable[Route] = OPENAI_ROUTES
) -> Iterator[tuple[str, Route]]:
    """Every row with its whole path."""
    below = ((prefix + route.path, route) for prefix in OPENAI_PREFIXES for route in openai)
    yield from chain(((route.path, route) for route in rows), below)


# Of paths that no row has, by how they begin.
_SHAPES: Final[Mapping[str, ErrorShape]] = {
    "/api/": ollama_error,
    "/anthropic/": anthropic_error,
    **{f"{prefix}/messages/": anthropic_error for prefix in OPENAI_PREFIXES},
}
_NAME = re.compile(r"\{(?!engine\})\w+\}")
# Of what other servers of these APIs have, by the first words below a prefix: what there is here instead.
_INSTEAD: Final[Mapping[str, str]] = {
    "files": "nothing is kept here: requests hold what they are about",
    "uploads": "nothing is kept here: requests hold what they are about",
    "vector_stores": "POST /v1/embeddings gives vectors, and keeps none",
    "containers": "nothing is kept here: requests hold what they are about",
    "batches": "send the requests one by one, or several at once",
    "messages/batches": "send the requests one by one, or several at once",
    "chat/completions": "answers of chats are not kept; those of POST /v1/responses are",
    "images/variations": "POST /v1/images/edits paints a picture anew",
    "conversations": "POST /v1/responses goes on with previous_response_id",
    "assistants": "POST /v1/responses goes on with previous_response_id",
    "threads": "POST /v1/responses goes on with previous_response_id",
    "audio": "no engine here speaks or listens",
    "realtime": "no engine here speaks or listens",
    "videos": "no engine here makes videos",
    "moderations": "ask a model, with POST /v1/chat/completions",
    "fine_tuning": "models are not trained here",
    "complete": "POST /v1/messages is its successor",
}
_ANY_PATH: Final = "GET /openapi.json lists the paths"


def _instead(template: str) -> str:
    prefixes = (*OPENAI_PREFIXES, "/anthropic/v1")
    below = next((template.removeprefix(f"{p}/") for p in prefixes if template.startswith(f"{p}/")), "")
    return next((hint for words, hint in _INSTEAD.items() if f"{below}/".startswith(f"{words}/")), _ANY_PATH)


def _with_engine(path: str) -> tuple[str, str | None]:
    """The path with `{engine}` for the engine that it names, if any."""
    if path.startswith("/engines/"):
        word, slash, rest = path.removeprefix("/engines/").partition("/")
        if slash and word not in RESERVED:
            return f"/engines/{{engine}}/{rest}", word
    return path, None


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All rows, looked up by path.

    `_named` are the paths with a name in them, by what stands before it and behind; where several fit, the
    one with the longest end comes first.
    """

    _exact: Mapping[str, Mapping[str, Route]]
    _named: Mapping[tuple[str, str], Mapping[str, Route]]

    @classmethod
    def build(cls, rows: Iterable[Route] = ROUTES, openai: Iterable[Route] = OPENAI_ROUTES) -> RouteTable:
        exact: dict[str, dict[str, Route]] = {}
        named: dict[tuple[str, str], dict[str, Route]] = {}
        for path, route in mounted(rows, openai):
            if match := _NAME.search(path):
                key = path[: match.start()], path[match.end() :]
                named.setdefault(key, {})[route.method] = route
            else:
                exact.setdefault(path, {})[route.method] = route
        return cls(exact, dict(sorted(named.items(), key=lambda item: -len(item[0][1]))))

    def match(self, method: str, path: str) -> Match:
        """Finds the row. HEAD is answered as GET is, without a body.

        Raises:
            RouteNotFound: no row has this path.
            MethodNotAllowed: rows have this path, none with this method.
        """
        for methods, engine, name in self._find(path):
            if (route := methods.get("GET" if method == "HEAD" else method)) is not None:
                return Match(route, engine, name)
        raise MethodNotAllowed(f"{path} does not take {method}", allowed=self.allowed_methods(path))

    def allowed_methods(self, path: str) -> tuple[str, ...]:
        """For OPTIONS. Raises RouteNotFound."""
        methods = {method: None for methods, _, _ in self._find(path) for method in methods}
        return (*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS")

    def error_shape(self, path: str) -> ErrorShape:
        """That of the API which has this path, whatever the method; OpenAI's where none has."""
        try:
            methods, _, _ = next(self._find(path))
        except RouteNotFound:
            template, _ = _with_engine(path)
            fitting = (shape for start, shape in _SHAPES.items() if template.startswith(start))
            return next(fitting, openai_shape)
        return next(iter(methods.values())).errors

    def _find(self, path: str) -> Iterator[tuple[Mapping[str, Route], str | None, str]]:
        """The rows by method, the engine and the name, of every template that fits; the closest first.

        Raises RouteNotFound instead of the first when there is none.
        """
        template, engine = _with_engine(path)
        found = False
        if (exact := self._exact.get(template)) is not None:
            found = True
            yield exact, engine, ""
        for (start, end), methods in self._named.items():
            if (
                template.startswith(start)
                and template.endswith(end)
                and len(template) > len(start) + len(end)
            ):
                found = True
                yield methods, engine, template[len(start) : len(template) - len(end)]
        if not found:
            raise RouteNotFound(f"there is nothing at {path}", hint=_instead(template))
