"""The route table: every path that the gateway answers is one row, or one row for three prefixes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from mrpack_runtime.engine import Operation
from mrpack_runtime.gateway import control, models, proxy
from mrpack_runtime.gateway.errors import MethodNotAllowed, RouteNotFound
from mrpack_runtime.gateway.guard import Scope

if TYPE_CHECKING:
    from aiohttp.web import StreamResponse

    from mrpack_runtime.gateway.call import Call

Handler = Callable[["Call"], Awaitable["StreamResponse"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` may hold `{engine}`, one segment, and end in `{model}`, the rest with its slashes.

    For inference: the `operation` that the model is loaded for, the engine's own path, and how its streams
    end (empty: there is no such mark).
    """

    method: str
    path: str
    handler: Handler
    scope: Scope
    operation: Operation | None = None
    upstream: str = ""
    stream_end: bytes = b""


@dataclass(frozen=True, slots=True)
class Match:
    route: Route
    engine: str | None = None
    model: str = ""


def _inference(path: str, operation: Operation) -> Route:
    return Route(
        method="POST",
        path=path,
        handler=proxy.infer,
        scope=Scope.INFERENCE,
        operation=operation,
        upstream=f"/v1{path}",
        stream_end=b"data: [DONE]",
    )


# Literal first segments: an engine must not have one of these names.
RESERVED: Final = frozenset(
    {"v1", "status", "ps", "df", "unload", "requests", "responses", "rerank", "score", "_configure"}
    | {"install-backend", "uninstall-backend"}
)
OPENAI_PREFIXES: Final = ("/engines/{engine}/v1", "/engines/v1", "/v1")

# Below each of OPENAI_PREFIXES.
OPENAI_ROUTES: Final = (
    _inference("/chat/completions", Operation.COMPLETION),
    _inference("/completions", Operation.COMPLETION),
    _inference("/embeddings", Operation.EMBEDDING),
    Route(method="GET", path="/models", handler=models.list_models, scope=Scope.INFERENCE),
    Route(method="GET", path="/models/{model}", handler=models.show_model, scope=Scope.INFERENCE),
)

ROUTES: Final = (
    Route(method="GET", path="/", handler=control.root, scope=Scope.OPEN),
    Route(method="GET", path="/health", handler=control.health, scope=Scope.OPEN),
    Route(method="GET", path="/ready", handler=control.ready, scope=Scope.OPEN),
    Route(method="GET", path="/version", handler=control.version, scope=Scope.OPEN),
    Route(method="GET", path="/engines/status", handler=control.status, scope=Scope.INFERENCE),
    Route(method="GET", path="/engines/ps", handler=control.ps, scope=Scope.INFERENCE),
    Route(method="GET", path="/engines/df", handler=control.df, scope=Scope.INFERENCE),
    Route(method="POST", path="/engines/unload", handler=control.unload, scope=Scope.MANAGEMENT),
    Route(method="GET", path="/logs", handler=control.logs, scope=Scope.MANAGEMENT),
)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """All rows, looked up by path. `_tails` are the paths that end in `{model}`, without it."""

    _exact: Mapping[str, Mapping[str, Route]]
    _tails: Mapping[str, Mapping[str, Route]]

    @classmethod
    def build(cls, rows: Iterable[Route] = ROUTES, openai: Iterable[Route] = OPENAI_ROUTES) -> RouteTable:
        exact: dict[str, dict[str, Route]] = {}
        tails: dict[str, dict[str, Route]] = {}
        mounted = ((prefix + route.path, route) for prefix in OPENAI_PREFIXES for route in openai)
        for path, route in chain(((route.path, route) for route in rows), mounted):
            tail = path.removesuffix("{model}")
            (exact if tail == path else tails).setdefault(tail, {})[route.method] = route
        return cls(exact, tails)

    def match(self, method: str, path: str) -> Match:
        """Finds the row. HEAD is answered as GET is, without a body.

        Raises:
            RouteNotFound: no row has this path.
            MethodNotAllowed: rows have this path, none with this method.
        """
        methods, engine, model = self._find(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise MethodNotAllowed(f"{path} does not take {method}", allowed=_allowed(methods))
        return Match(route, engine, model)

    def allowed_methods(self, path: str) -> tuple[str, ...]:
        """For OPTIONS. Raises RouteNotFound."""
        return _allowed(self._find(path)[0])

    def _find(self, path: str) -> tuple[Mapping[str, Route], str | None, str]:
        engine, template = None, path
        if path.startswith("/engines/"):
            name, slash, rest = path.removeprefix("/engines/").partition("/")
            if slash and name not in RESERVED:
                engine, template = name, f"/engines/{{engine}}/{rest}"
        if (methods := self._exact.get(template)) is not None:
            return methods, engine, ""
        for tail, methods in self._tails.items():
            if template.startswith(tail) and template != tail:
                return methods, engine, template.removeprefix(tail)
        raise RouteNotFound(f"there is nothing at {path}")


def _allowed(methods: Mapping[str, Route]) -> tuple[str, ...]:
    return (*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS")
