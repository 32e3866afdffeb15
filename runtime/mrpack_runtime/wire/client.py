"""A small synchronous client of a running gateway, for the commands."""

from __future__ import annotations

import codecs
import http.client
import json
import socket
import ssl
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from mrpack.errors import (
    AccessDenied,
    EngineFailed,
    HostRefused,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    Unsupported,
    UsageError,
)
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint

_CONNECT_TIMEOUT_S: Final = 5.0
# It may look for engines, or wait for one to end.
_PATIENT_S: Final = 120.0
_PIECE_SIZE: Final = 64 * 1024
_ANSWER_LIMIT: Final = 64 * 1024 * 1024
# An image of 4096 x 4096 pixels in base64.
_LINE_LIMIT: Final = 96 * 1024 * 1024
_JSON: Final = "application/json"
# As a gateway names itself.
_NAME: Final = "mrpack"
_FAMILIES: Final[Mapping[int, type[MrpackError]]] = {
    400: UsageError,
    403: AccessDenied,
    404: NotFound,
    409: Unsupported,
    413: UsageError,
    422: UsageError,
    501: Unsupported,
    502: EngineFailed,
    503: EngineFailed,
    507: HostRefused,
}
# Where several families share a status.
_BY_CODE: Final[Mapping[str, type[MrpackError]]] = {
    family.code: family for family in (IntegrityError, InvalidArtifact, RegistryUnavailable)
}


class NotRunning(NotFound):
    """Nothing listens where the gateway should be, or it is another program."""

    code = "not_running"


class Stranger(NotRunning):
    """Something listens there, but not a gateway that understands us."""


class _Connection(http.client.HTTPConnection):
    """To either kind of endpoint."""

    def __init__(self, endpoint: Endpoint, answer_s: float | None, tls: Tls | None) -> None:
        host = endpoint.host if isinstance(endpoint, TcpEndpoint) else "localhost"
        super().__init__(host, endpoint.port if isinstance(endpoint, TcpEndpoint) else None)
        self._endpoint = endpoint
        self._answer_s = answer_s
        self._tls = tls

    def connect(self) -> None:
        if isinstance(self._endpoint, UnixEndpoint):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(_CONNECT_TIMEOUT_S)
            self.sock.connect(str(self._endpoint.path))
        else:
            self.sock = socket.create_connection(
                (self._endpoint.host, self._endpoint.port), _CONNECT_TIMEOUT_S
            )
            if self._tls is not None:
                context = ssl.create_default_context(cafile=self._tls.ca_file)
                self.sock = context.wrap_socket(self.sock, server_hostname=self._endpoint.host)
        self.sock.settimeout(self._answer_s)


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca_file`: a PEM file of the certificates to trust, None for those that the system trusts."""

    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """One connection for each call; holds nothing open. All methods raise as `_answer` does.

    `prompt_s`: how long a gateway may take for what it says at once, whatever its engines do.
    """

    endpoint: Endpoint
    api_key: str | None = None
    prompt_s: float = 10.0
    tls: Tls | None = None

    @property
    def url(self) -> str:
        """As people and OpenAI clients write it; a path for Unix sockets."""
        if isinstance(self.endpoint, UnixEndpoint):
            return f"unix://{self.endpoint.path}"
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        return f"http{'s' if self.tls else ''}://{host}:{self.endpoint.port}"

    def version(self) -> str:
        """Raises NotRunning when nobody answers, Stranger when another program does."""
        with self._answer("GET", "/version", answer_s=self.prompt_s, pause_s=self.prompt_s) as answer:
            if answer.headers.get("Server") != _NAME:
                raise self._another()
            return str(_object(_read(answer)).get("version", ""))

    def model(self, name: str) -> dict[str, Any]:
        path = f"/v1/models/{quote(name, safe='/:@')}"
        return _object(self._json("GET", path, answer_s=_PATIENT_S))

    def engines(self) -> dict[str, str]:
        return _object(self._json("GET", "/engines/status", answer_s=_PATIENT_S))

    def ps(self, *, wide: bool = False) -> list[dict[str, Any]]:
        found = self._json("GET", "/engines/ps" + ("?wide=true" if wide else ""), answer_s=self.prompt_s)
        if not isinstance(found, list):
            raise EngineFailed("the gateway's answer is not a list")
        return found

    def unload(
        self, models: tuple[str, ...] = (), *, engine: str = "", everything: bool = False, force: bool = False
    ) -> dict[str, Any]:
        body = {"models": list(models), "backend": engine, "all": everything, "force": force}
        return _object(self._json("POST", "/engines/unload", body, answer_s=_PATIENT_S))

    def logs(self, *, engines: bool = True, engine: str = "", follow: bool = False) -> Iterator[str]:
        """Pieces of text as they come; without end when `follow`. `engine`: of this engine or model alone."""
        asked = {"follow": str(follow).lower(), "no-engines": str(not engines).lower()}
        query = urlencode(asked | ({"engine": engine} if engine else {}))
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with self._answer("GET", f"/logs?{query}", answer_s=self.prompt_s, pause_s=None) as answer:
            for piece in _pieces(answer):
                yield decoder.decode(piece)

    def chat(self, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The events of a chat completion, which is streamed. Closing the iterator stops the engine's work.

        Raises:
            EngineFailed: the engine failed in the middle, too.
        """
        if not (yield from self._events("/v1/chat/completions", body)):
            raise EngineFailed("the answer ended too early")

    def paint(self, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The events of a request for images, as `chat` gives those of its own; no mark ends them."""
        yield from self._events("/v1/images/generations", body)

    def _events(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, bool]:
        """Returns whether the stream ended with OpenAI's mark."""
        with self._answer("POST", path, {**body, "stream": True}) as answer:
            for line in _lines(answer):
                field, _, text = line.strip().partition(b": ")
                if field != b"data":
                    continue
                if text == b"[DONE]":
                    return True
                event = _object(_parse(text))
                if "error" in event:
                    raise _error(502, event)
                yield event
        return False

    def _another(self) -> Stranger:
        return Stranger(
            f"another program answers at {self.url}",
            hint="name the port of a gateway with --port, or start one with `mrpack serve`",
        )

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, answer_s: float) -> Any:
        with self._answer(method, path, body, answer_s=answer_s, pause_s=answer_s) as answer:
            return _read(answer)

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        answer_s: float | None = None,
        pause_s: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer with status 200; `answer_s` until its head, `pause_s` between its pieces, None: no limit.

        Raises:
            NotRunning: nobody answers; Stranger: not in HTTP, or another program.
            NotFound, UsageError, AccessDenied, Unsupported, EngineFailed: as its status says.
        """
        headers = {"Content-Type": _JSON} if body is not None else {}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        connection = _Connection(self.endpoint, answer_s, self.tls)
        try:
            try:
                content = None if body is None else json.dumps(body).encode()
                connection.request(method, path, content, headers)
                wire = connection.sock  # forgotten by http.client where the answer ends the connection
                answer = connection.getresponse()
                wire.settimeout(pause_s)
            except TimeoutError as error:
                raise Stranger(
                    f"what listens at {self.url} does not answer",
                    hint="it hangs, or is no gateway: end it, or name another --port",
                ) from error
            except ssl.SSLCertVerificationError as error:
                raise AccessDenied(
                    f"the certificate of {self.url} is not trusted: {error.verify_message}",
                    hint="--ca-file FILE trusts another issuer",
                ) from error
            except ssl.SSLError as error:
                raise Stranger(
                    f"what listens at {self.url} does not speak TLS",
                    hint="a gateway without TLS is asked without https:// and --ca-file",
                ) from error
            except (http.client.HTTPException, ConnectionResetError, BrokenPipeError) as error:
                raise Stranger(
                    f"what listens at {self.url} gives no answer in HTTP",
                    hint="a gateway with TLS is asked with --host https://NAME",
                ) from error
            except OSError as error:
                raise NotRunning(
                    f"no gateway answers at {self.url}", hint="start one with `mrpack serve`"
                ) from error
            with answer:  # which `connection` forgot where it ends the connection
                if answer.status == http.HTTPStatus.UNAUTHORIZED:
                    wrong = "does not take this API key" if self.api_key else "wants an API key"
                    raise AccessDenied(
                        f"{self.url} {wrong}",
                        hint="--api-key-file FILE; what manages models may need a key of its own",
                    )
                if answer.status != http.HTTPStatus.OK:
                    refusal = _read(answer)
                    # Not by the name alone: a proxy may have put its own there.
                    if answer.headers.get("Server") != _NAME and not _is_error(refusal):
                        raise self._another()
                    raise _error(answer.status, refusal)
                yield answer
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailed("the gateway broke the connection") from error
        finally:
            connection.close()


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """As they come; raises IncompleteRead when the answer was cut, which `readline` and `read` may hide."""
    while piece := answer.read1(_PIECE_SIZE):
        yield piece
    if answer.length:  # what is left of an announced one
        raise http.client.IncompleteRead(b"", answer.length)


def _lines(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    held = bytearray()
    for piece in _pieces(answer):
        held += piece
        if b"\n" in piece:
            *lines, held = held.split(b"\n")
            yield from map(bytes, lines)
        if len(held) > _LINE_LIMIT:
            raise EngineFailed("a line of the gateway's answer has no end")


def _read(answer: http.client.HTTPResponse) -> Any:
    content = bytearray()
    for piece in _pieces(answer):
        content += piece
        if len(content) > _ANSWER_LIMIT:
            raise EngineFailed("the gateway's answer has no end")
    return _parse(bytes(content))


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineFailed("the gateway's answer is not a JSON object")
    return value


def _is_error(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("error"), dict)


def _error(status: int, body: Any) -> MrpackError:
    found = body.get("error") if isinstance(body, dict) else None
    error = found if isinstance(found, dict) else {}
    message = str(error.get("message") or f"the gateway answered with status {status}")
    family = _BY_CODE.get(str(error.get("code"))) or _FAMILIES.get(status, EngineFailed)
    if family is EngineFailed:
        return EngineFailed(message, log_tail=str(error.get("log_tail") or ""))
    return family(message)
