"""A small synchronous client of a running gateway, for the commands."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from mrpack.errors import AccessDenied, EngineFailed, MrpackError, NotFound, Unsupported, UsageError
from mrpack_runtime.engine import Endpoint, TcpEndpoint, UnixEndpoint

DEFAULT_PORT: Final = 12434
_CONNECT_TIMEOUT_S: Final = 5.0
_ANSWER_LIMIT: Final = 64 * 1024 * 1024
_LINE_LIMIT: Final = 16 * 1024 * 1024
_JSON: Final = "application/json"
_FAMILIES: Final[Mapping[int, type[MrpackError]]] = {
    400: UsageError,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: Unsupported,
    413: UsageError,
    422: UsageError,
    501: Unsupported,
    502: EngineFailed,
    503: EngineFailed,
}


class NotRunning(NotFound):
    """Nothing listens where the gateway should be, or it is another program."""

    code = "not_running"


class _Connection(http.client.HTTPConnection):
    """To either kind of endpoint; answers may take as long as they like once it stands."""

    def __init__(self, endpoint: Endpoint) -> None:
        host = endpoint.host if isinstance(endpoint, TcpEndpoint) else "localhost"
        super().__init__(host, endpoint.port if isinstance(endpoint, TcpEndpoint) else None)
        self._endpoint = endpoint

    def connect(self) -> None:
        if isinstance(self._endpoint, UnixEndpoint):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_CONNECT_TIMEOUT_S)
            self.sock.connect(str(self._endpoint.path))
        else:
            self.sock = socket.create_connection(
                (self._endpoint.host, self._endpoint.port), _CONNECT_TIMEOUT_S
            )
        self.sock.settimeout(None)


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """One connection for each call; holds nothing open. All methods raise as `_answer` does."""

    endpoint: Endpoint
    api_key: str | None = None

    @property
    def url(self) -> str:
        """As people and OpenAI clients write it; a path for Unix sockets."""
        if isinstance(self.endpoint, UnixEndpoint):
            return f"unix://{self.endpoint.path}"
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        return f"http://{host}:{self.endpoint.port}"

    def version(self) -> str:
        """Raises NotRunning when nobody, or another program, answers."""
        with self._answer("GET", "/version") as answer:
            if answer.headers.get("Server") != "mrpack":
                raise NotRunning(f"another program answers at {self.url}")
            return str(_object(_read(answer)).get("version", ""))

    def model(self, name: str) -> dict[str, Any]:
        return _object(self._json("GET", f"/v1/models/{quote(name, safe='/:@')}"))

    def engines(self) -> dict[str, str]:
        return _object(self._json("GET", "/engines/status"))

    def ps(self, *, wide: bool = False) -> list[dict[str, Any]]:
        found = self._json("GET", "/engines/ps" + ("?wide=true" if wide else ""))
        if not isinstance(found, list):
            raise EngineFailed("the gateway's answer is not a list")
        return found

    def unload(
        self, models: tuple[str, ...] = (), *, engine: str = "", everything: bool = False, force: bool = False
    ) -> dict[str, Any]:
        body = {"models": list(models), "backend": engine, "all": everything, "force": force}
        return _object(self._json("POST", "/engines/unload", body))

    def logs(self, *, engines: bool = True, follow: bool = False) -> Iterator[str]:
        """Pieces of text as they come; without end when `follow`."""
        query = urlencode({"follow": str(follow).lower(), "no-engines": str(not engines).lower()})
        with self._answer("GET", f"/logs?{query}") as answer:
            while piece := answer.read1(65536):
                yield piece.decode(errors="replace")

    def chat(self, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The events of a chat completion, which is streamed. Closing the iterator stops the engine's work.

        Raises:
            EngineFailed: the engine failed in the middle, too.
        """
        with self._answer("POST", "/v1/chat/completions", {**body, "stream": True}) as answer:
            while line := answer.readline(_LINE_LIMIT):
                field, _, text = line.strip().partition(b": ")
                if field != b"data":
                    continue
                if text == b"[DONE]":
                    return
                event = _object(_parse(text))
                if "error" in event:
                    raise _error(502, event)
                yield event
        raise EngineFailed("the answer ended too early")

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        with self._answer(method, path, body) as answer:
            return _read(answer)

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer with status 200.

        Raises:
            NotRunning: nobody answers, or not in HTTP.
            NotFound, UsageError, AccessDenied, Unsupported, EngineFailed: as its status says.
        """
        headers = {"Content-Type": _JSON} if body is not None else {}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        connection = _Connection(self.endpoint)
        try:
            try:
                content = None if body is None else json.dumps(body).encode()
                connection.request(method, path, content, headers)
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise NotRunning(
                    f"no gateway answers at {self.url}", hint="start one with `mrpack serve`"
                ) from error
            if answer.status != http.HTTPStatus.OK:
                raise _error(answer.status, _parse(answer.read(_ANSWER_LIMIT)))
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailed("the gateway broke the connection") from error
        finally:
            connection.close()


def _read(answer: http.client.HTTPResponse) -> Any:
    return _parse(answer.read(_ANSWER_LIMIT))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineFailed("the gateway's answer is not a JSON object")
    return value


def _error(status: int, body: Any) -> MrpackError:
    found = body.get("error") if isinstance(body, dict) else None
    error = found if isinstance(found, dict) else {}
    message = str(error.get("message") or f"the gateway answered with status {status}")
    family = _FAMILIES.get(status, EngineFailed)
    if family is EngineFailed:
        return EngineFailed(message, log_tail=str(error.get("log_tail") or ""))
    return family(message)
