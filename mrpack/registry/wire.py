"""What a registry's refusal means: status and error codes to classes of the error tree, never its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    Unsupported,
    UsageError,
)
from mrpack.oci.encoding import decode_object
from mrpack.registry.printable import printable
from mrpack.registry.response import Response
from mrpack.registry.retry import Transient, parse_retry_after

ERROR_BODY_LIMIT: Final = 64 * 1024

_TRANSIENT_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

# distribution-spec 1.1, "Error Codes", and those that Distribution adds.
_BY_CODE: Final[dict[str, type[MrpackError]]] = {
    "BLOB_UNKNOWN": NotFound,
    "BLOB_UPLOAD_INVALID": NotFound,
    "BLOB_UPLOAD_UNKNOWN": NotFound,
    "MANIFEST_BLOB_UNKNOWN": NotFound,
    "MANIFEST_UNKNOWN": NotFound,
    "NAME_UNKNOWN": NotFound,
    "DIGEST_INVALID": IntegrityError,
    "SIZE_INVALID": IntegrityError,
    "MANIFEST_INVALID": InvalidArtifact,
    "MANIFEST_UNVERIFIED": InvalidArtifact,
    "NAME_INVALID": UsageError,
    "TAG_INVALID": UsageError,
    "UNAUTHORIZED": AccessDenied,
    "DENIED": AccessDenied,
    "UNSUPPORTED": Unsupported,
}
_BY_STATUS: Final[dict[int, type[MrpackError]]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    405: Unsupported,
    407: AccessDenied,
    410: NotFound,
    413: Unsupported,
    501: Unsupported,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One answer that is not what was asked for. `words` is the registry's own text, fit to be shown."""

    status: int
    codes: tuple[str, ...] = ()
    words: str = ""
    retry_after_s: float | None = None

    @classmethod
    def read(cls, response: Response, now: Callable[[], float]) -> Refusal:
        """Takes at most 64 KiB of the body; a larger one counts as none."""
        retry_after_s = parse_retry_after(response.header("Retry-After"), now())
        try:
            raw = response.read(ERROR_BODY_LIMIT)
        except RegistryUnavailable:
            raw = b""
        return cls.parse(response.status, raw, retry_after_s)

    @classmethod
    def parse(cls, status: int, raw: bytes, retry_after_s: float | None) -> Refusal:
        """`raw` as distribution-spec 1.1, "Error Codes"; a body that is no such error counts as none."""
        try:
            body = decode_object(raw, "error", limit=ERROR_BODY_LIMIT)
        except InvalidArtifact:
            body = {}
        errors = body.get("errors")
        entries = (
            [entry for entry in errors if isinstance(entry, dict)][:8] if isinstance(errors, list) else []
        )
        codes = tuple(code for entry in entries if isinstance(code := entry.get("code"), str))
        words = "; ".join(text for entry in entries if isinstance(text := entry.get("message"), str) and text)
        return cls(status, codes, printable(words), retry_after_s)

    @property
    def family(self) -> type[MrpackError]:
        """The status decides where it is clear; a code tells 400s and 404s apart."""
        if self.status in _TRANSIENT_STATUS or "TOOMANYREQUESTS" in self.codes:
            return Transient
        if self.status in {401, 403}:
            return AccessDenied
        for code in self.codes:
            if code in _BY_CODE:
                return _BY_CODE[code]
        return _BY_STATUS.get(self.status, RegistryUnavailable)

    def error(self, doing: str, where: str, *, hint: str | None = None) -> MrpackError:
        """`doing` names operation and content, `where` the registry and repository."""
        family = self.family
        text = f"{doing}: {where} {_VERBS.get(family, 'answered')} with status {self.status}"
        if self.words:
            text += f": {self.words}"
        if family is Transient:
            return Transient(text, hint=hint or self._waiting_hint(), retry_after_s=self.retry_after_s)
        return family(text, hint=hint or _HINTS.get(self.status))

    def _waiting_hint(self) -> str | None:
        if self.retry_after_s is None:
            return None
        return f"it asks to come back in {self.retry_after_s:.0f} s"


_VERBS: Final[dict[type[MrpackError], str]] = {
    AccessDenied: "refused",
    NotFound: "does not have it, it answered",
}
_HINTS: Final = {
    404: "check the name and the tag",
    413: "the registry limits the size of one upload",
}
