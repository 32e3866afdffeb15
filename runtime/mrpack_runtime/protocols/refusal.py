"""What every API refuses a request with."""

from __future__ import annotations

from mrpack.errors import UsageError


class RequestRefused(UsageError):
    """A request that is wrong as such; `param` names its field."""

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param
