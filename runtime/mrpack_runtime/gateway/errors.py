"""Errors as clients see them: OpenAI's JSON with the status that belongs to the class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from mrpack.errors import AccessDenied, EngineFailed, MrpackError, NotFound
from mrpack_runtime.protocols.refusal import RequestRefused

_SERVER_ERROR: Final = 500
# The official clients would ask again: after 409, and after all from 500 on.
_FINAL: Final = frozenset({409, 501, 507})
ErrorShape = Callable[[int, dict[str, Any]], dict[str, Any]]
"""From a status and an error as OpenAI writes it, without envelope, to the whole body of an answer."""


def openai_shape(_status: int, error: dict[str, Any]) -> dict[str, Any]:
    return {"error": error}


class NotJson(RequestRefused):
    code = "invalid_json"


class RouteNotFound(NotFound):
    code = "unknown_url"


class ModelNotFound(NotFound):
    code = "model_not_found"
    param = "model"


class MethodNotAllowed(RequestRefused):
    http_status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allowed: tuple[str, ...]) -> None:
        super().__init__(message, hint=f"it takes {', '.join(allowed)}")
        self.allowed = allowed


class BodyTimeout(RequestRefused):
    http_status = 408
    code = "request_timeout"


class PayloadTooLarge(RequestRefused):
    http_status = 413
    code = "request_too_large"


class UnsupportedMediaType(RequestRefused):
    http_status = 415
    code = "unsupported_media_type"


class KeyRequired(AccessDenied):
    http_status = 401
    code = "invalid_api_key"


class Forbidden(AccessDenied):
    code = "forbidden"


def error_json(error: MrpackError, *, with_log: bool) -> dict[str, Any]:
    """Without its envelope. `with_log` adds an engine's last lines, which may name files of this machine."""
    content: dict[str, Any] = {
        "message": str(error),
        "type": "server_error" if error.http_status >= _SERVER_ERROR else "invalid_request_error",
        "param": getattr(error, "param", None),
        "code": error.code,
    }
    if with_log and isinstance(error, EngineFailed) and error.log_tail:
        content["log_tail"] = error.log_tail
    return content


def error_headers(error: MrpackError) -> dict[str, str]:
    """What a status needs beside its body."""
    headers = {}
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = ", ".join(error.allowed)
    if error.http_status in _FINAL:
        headers["X-Should-Retry"] = "false"
    if isinstance(error, KeyRequired):
        headers["WWW-Authenticate"] = 'Bearer realm="mrpack"'
    retry_after_s: float | None = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    return headers
