"""Refusals: the error codes of distribution-spec 1.1 with their statuses, and our errors in their terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mrpack.distribution.message import Response
from mrpack.errors import HostRefused, MrpackError
from mrpack.oci.encoding import encode

_RETRY_AFTER_S: Final = 5

STATUSES: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 400,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNSUPPORTED": 405,
    # Distribution's code for what is the server's own trouble.
    "UNKNOWN": 500,
}


class RefusalError(Exception):
    """An answer that is no success, raised where the reason is known. Never leaves this package.

    `details`: one error a detail is reported, such as each missing blob.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        details: Sequence[Any] = (None,),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = STATUSES[code] if status is None else status
        self.headers = headers or {}
        self.details = details

    @property
    def response(self) -> Response:
        errors = [
            {"code": self.code, "message": self.message} | ({} if detail is None else {"detail": detail})
            for detail in self.details
        ]
        return Response(
            status=self.status,
            headers={"Content-Type": "application/json", **self.headers},
            body=encode({"errors": errors}),
        )


def refusal_of(error: MrpackError) -> RefusalError:
    """For what no handler foresaw: a full disk is 507, the rest 500. Local paths stay in the log."""
    status = error.http_status if isinstance(error, HostRefused) else 500
    return RefusalError("UNKNOWN", "this server could not do it; its log says why", status=status)


def unsupported(message: str, *, allow: str) -> RefusalError:
    return RefusalError("UNSUPPORTED", message, headers={"Allow": allow})


def busy(message: str) -> RefusalError:
    return RefusalError("TOOMANYREQUESTS", message, headers={"Retry-After": str(_RETRY_AFTER_S)})
