"""The whole error tree, with the exit code and HTTP status of each family.

    MrpackError             1  500   a bug in mrpack: please report
    +- UsageError           2  400   wrong flags, a malformed reference or request
    +- NotFound             3  404   no such reference, blob, file or model
    +- AccessDenied         4  403   the registry or the gateway refused these credentials
    +- RegistryUnavailable  5  502   network failure, time-out, 5xx, 429 that did not clear, broken protocol
    +- IntegrityError       6  502   bytes that are not what their descriptor says
    +- InvalidArtifact      7  422   a malformed model file, manifest, config or override
    +- Unsupported          8  501   well-formed, but not possible with this engine, format or platform
    +- HostRefused          8  507   this machine could not do it: disk full, read-only store, port taken
    |  +- StoreBusy         8  507   another mrpack works on the store just now
    +- EngineFailed         9  502   the inference engine did not start, crashed or answered garbage

Decisions are made on the class and its attributes, never on the text.
"""

from __future__ import annotations

import errno
from typing import ClassVar, Literal


class MrpackError(Exception):
    """Root of the tree. `message` says what and where; `hint`, if any, what to try.

    Both are one line: foreign text in them comes with everything invisible written as escapes.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = one_line(message)
        self.hint = None if hint is None else one_line(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MrpackError):
    exit_code = 2
    http_status = 400
    code = "invalid_request"


class NotFound(MrpackError):
    exit_code = 3
    http_status = 404
    code = "not_found"


class AccessDenied(MrpackError):
    exit_code = 4
    http_status = 403
    code = "access_denied"


class RegistryUnavailable(MrpackError):
    """`retry_after_s`: seconds the registry asked to wait, when it did."""

    exit_code = 5
    http_status = 502
    code = "registry_unavailable"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class IntegrityError(MrpackError):
    """`expected` and `actual` are digests or byte counts, as text."""

    exit_code = 6
    http_status = 502
    code = "integrity_error"

    def __init__(
        self, message: str, *, expected: str = "", actual: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.actual = actual


class InvalidArtifact(MrpackError):
    """`where` is the file, or the JSON path inside it, such as `layers[3].digest`."""

    exit_code = 7
    http_status = 422
    code = "invalid_artifact"

    def __init__(self, message: str, *, where: str = "", hint: str | None = None) -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class Unsupported(MrpackError):
    exit_code = 8
    http_status = 501
    code = "unsupported"


class HostRefused(MrpackError):
    exit_code = 8
    http_status = 507
    code = "host_refused"


class StoreBusy(HostRefused):
    """Another process works on the store; the same may succeed later."""


class EngineFailed(MrpackError):
    """`exit_status` is the engine's (negative: a signal), None while it lives; `log_tail` its last lines."""

    exit_code = 9
    http_status = 502
    code = "engine_failed"

    def __init__(
        self,
        message: str,
        *,
        exit_status: int | None = None,
        log_tail: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.exit_status = exit_status
        self.log_tail = log_tail


class TransferError(MrpackError):
    """Says which side and which operation of a copy failed; takes text, exit code and status of its cause.

    `side` is "source" or "destination", `operation` the port's verb with the `name` of what it was about: for
    programs, since the cause's text names both already. The idea is oras-go's CopyError.
    """

    def __init__(
        self, cause: MrpackError, *, side: Literal["source", "destination"], operation: str, name: str
    ) -> None:
        super().__init__(cause.message, hint=cause.hint)
        self.cause = cause
        self.side = side
        self.operation = operation
        self.name = name
        self.exit_code = cause.exit_code  # type: ignore[misc]  # the family is the cause's
        self.http_status = cause.http_status  # type: ignore[misc]
        self.code = cause.code  # type: ignore[misc]


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_BROKEN = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE})
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def one_line(text: str) -> str:
    """For a terminal or a log: line ends, control and invisible characters as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def is_of_host(error: OSError) -> bool:
    """Whether a disk failed, or a limit was reached, which may befall any system call."""
    return error.errno in _BROKEN | _USED_UP


def from_os_error(error: OSError, doing: str) -> MrpackError:
    """The family for a failed system call; `doing` names what was tried, such as "write blob sha256:…"."""
    place = f" ({error.filename})" if error.filename and str(error.filename) not in doing else ""
    if error.errno == errno.ENOENT:
        return NotFound(f"{doing}: no such file or folder{place}")
    if error.errno in _FULL:
        return HostRefused(f"{doing}: no space left on the device{place}", hint="free some space and repeat")
    if error.errno == errno.EFBIG:
        return HostRefused(
            f"{doing}: larger than a file may be there{place}",
            hint="take another file system than FAT, or see `ulimit -f`",
        )
    if error.errno in _READ_ONLY:
        return HostRefused(f"{doing}: no permission to write or read{place}")
    return HostRefused(f"{doing}: {error.strerror or error}{place}")
