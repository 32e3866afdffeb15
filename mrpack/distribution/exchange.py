"""One request and its answer on a connection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from mrpack.distribution.connection import Body, Connection, DisconnectedError
from mrpack.distribution.message import BadRequestError, Request, Response, parse_head

_LOG = logging.getLogger(__name__)

Answer = Callable[[Request, Body], Response]


def exchange(connection: Connection, head: bytes, answer: Answer) -> bool:
    """Answer one request; True when the connection can take another one. Raises DisconnectedError."""
    started = time.monotonic()
    try:
        request = parse_head(head)
    except BadRequestError as error:
        refuse(connection, error)
        return False
    body = Body(connection, request)
    head_only = request.method == "HEAD"
    outcome = "cut"
    try:
        response = _response(connection, request, body, answer)
        outcome = f"{response.status}, cut"
        keep = request.keep_alive and body.ended and not response.close
        try:
            connection.respond(response, head_only=head_only, close=not keep)
        finally:
            response.discard()
        outcome = str(response.status)
    finally:
        took_s = time.monotonic() - started
        # %r keeps control characters of the path out of the terminal.
        _LOG.info("%s %s %r %s %.3fs", connection.peer, request.method, request.path, outcome, took_s)
    if not body.ended:
        connection.close_after_reading()
    return keep


def _response(connection: Connection, request: Request, body: Body, answer: Answer) -> Response:
    try:
        return answer(request, body)
    except BadRequestError as error:
        return _plain(error.status, error.message)
    except DisconnectedError:
        raise
    except Exception:
        connection.respond(_plain(500, "internal error"), head_only=request.method == "HEAD", close=True)
        raise


def refuse(connection: Connection, error: BadRequestError) -> None:
    """Raises DisconnectedError."""
    connection.respond(_plain(error.status, error.message), head_only=False, close=True)
    connection.close_after_reading()


def _plain(status: int, message: str) -> Response:
    return Response(
        status=status, headers={"Content-Type": "text/plain"}, body=f"{message}\n".encode(), close=True
    )
