"""Quirks: semantics put in front of an engine's HTTP surface, as pure steps over JSON.

The gateway drives one exchange a request (`Launch.quirks` names the layer; None: bytes pass through as they
are):

1. `exchange = QUIRKS[name]().begin(path, body)`; path: such as `/v1/completions`. Raises Unsupported (501)
   or UsageError (400) for what the engine cannot do: nothing is sent then.
2. While `serial` is true at most one exchange is under way at that engine: hold the others in the queue.
3. POST `exchange.body` to `exchange.path`.
4. Without stream, or with a status other than 200: the client gets `exchange.answer(status, body)`,
   `body` being the decoded JSON.
5. With a stream: each event's JSON goes through `exchange.chunk(event)`, whose results are sent in its place;
   `[DONE]` is passed on. An engine that is gone before is the gateway's business, as with every other engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

JsonObject = dict[str, Any]


class Exchange(Protocol):
    """One request on its way; keeps what the answer needs to know. Does no I/O."""

    @property
    def path(self) -> str: ...

    @property
    def body(self) -> JsonObject: ...

    def answer(self, status: int, body: Any) -> tuple[int, JsonObject]:
        """Status and body for the client; `body` may be anything that an engine in trouble sends, or None."""
        ...

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        """The events to send in place of this one; may be none."""
        ...


class Quirks(Protocol):
    name: str
    """As in `QUIRKS`."""
    serial: bool

    def begin(self, path: str, body: JsonObject) -> Exchange:
        """Takes `body` as the client sent it and does not change it.

        Raises:
            Unsupported: the engine has no such operation.
            UsageError: a field that the engine would answer with a wrong status.
        """
        ...


def _llama_cpp_server() -> Quirks:
    from mrpack_runtime.quirks.llama_cpp_server import LlamaCppServer  # noqa: PLC0415  # only who needs it pays

    return LlamaCppServer()


QUIRKS: Final[Mapping[str, Callable[[], Quirks]]] = {"llama_cpp_server": _llama_cpp_server}
