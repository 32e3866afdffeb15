"""Every request passes here: who sends it, which route it is for, and what became of it."""

from __future__ import annotations

import logging
import time
from typing import Final

from mrpack.errors import MrpackError
from mrpack_runtime.gateway.call import Call, Gateway, Match, error_response
from mrpack_runtime.gateway.errors import ErrorShape, RouteNotFound
from mrpack_runtime.gateway.exchange import Reply, Request, Response
from mrpack_runtime.gateway.guard import check_scope, check_sender, cors_headers, preflight_headers
from mrpack_runtime.gateway.routes import RouteTable

_LOG: Final = logging.getLogger(__name__)


class Dispatcher:
    def __init__(self, gateway: Gateway, table: RouteTable | None = None) -> None:
        self._gateway = gateway
        self._table = table or RouteTable.build()

    def error_shape(self, path: str) -> ErrorShape:
        """How the API that has this path writes its errors."""
        return self._table.error_shape(path)

    async def answer(self, request: Request) -> Reply:
        """The answer, also to requests that are refused. The log gets no prompt, no key and no query."""
        begin = time.monotonic()
        policy = self._gateway.policy
        headers = {"Server": "mrpack", "X-Content-Type-Options": "nosniff"}
        match: Match | None = None
        call: Call | None = None
        status: int | str = "left"
        try:
            origin = request.headers.get("Origin")
            check_sender(request.headers.all("Host"), origin, policy)
            headers |= cors_headers(origin, policy)
            if request.method == "OPTIONS":
                response: Reply = self._options(request, headers)
            else:
                match = self._table.match(request.method, request.path)
                check_scope(match.route.scope, request.headers, policy)
                self._check_engine(match.engine)
                call = Call(self._gateway, request, match, headers)
                response = await match.route.handler(call)
            status = response.status
        except MrpackError as error:
            status = error.http_status
            _LOG.debug("refused: %s", error)
            if request.is_begun:
                raise ConnectionResetError("an answer has begun: only its cut can tell") from error
            return error_response(error, headers, policy, self.error_shape(request.path))
        else:
            return response
        finally:
            if call is not None and call.held:
                self._gateway.body_room.give(call.held)
            seconds = time.monotonic() - begin
            self._gateway.metrics.answered(
                match.route.path if match is not None else "none",
                str(status),
                call.model if call is not None and call.engine else "",
                seconds,
            )
            if _LOG.isEnabledFor(logging.INFO):
                _LOG.info(
                    "%s %s %s %.0f ms %s",
                    request.method,
                    request.path,
                    status,
                    seconds * 1000,
                    f"{call.model} on {call.engine}" if call is not None and call.engine else "-",
                )

    def _check_engine(self, name: str | None) -> None:
        """Raises RouteNotFound when the path names an engine that nobody knows."""
        engines = self._gateway.engines
        if name is not None and name not in engines:
            raise RouteNotFound(f"there is no engine {name!r}", hint=f"known engines: {', '.join(engines)}")

    def _options(self, request: Request, headers: dict[str, str]) -> Response:
        """A browser's preflight, which never carries a key, or a plain question."""
        methods = self._table.allowed_methods(request.path)
        answer = {**headers, "Allow": ", ".join(methods)}
        if "Origin" in request.headers and "Access-Control-Request-Method" in request.headers:
            answer |= preflight_headers(methods, request.headers.get("Access-Control-Request-Headers", ""))
        return Response(status=204, headers=answer)
