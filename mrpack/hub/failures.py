"""What went wrong at the Hugging Face hub, in our families; told by huggingface_hub's classes alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from mrpack.errors import (
    AccessDenied,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    UsageError,
    from_os_error,
)
from mrpack.hub.library import (
    HTTP_ERROR,
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from mrpack.hub.reference import HUB_REGISTRY

# draft-ietf-httpapi-ratelimit-headers, "RateLimit": `"api";r=0;t=55`.
_RESET = re.compile(r";\s*t=([0-9]{1,9})(?![0-9.])")
_LOG_IN: Final = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def translating(repository: str, name: str) -> Iterator[None]:
    """Raise what huggingface_hub raises as errors of ours; `name` as the user wrote it."""
    try:
        yield
    except (HTTP_ERROR, EntryNotFoundError, HFValidationError, OSError) as error:
        raise _translated(error, repository, name) from error


def _translated(error: BaseException, repository: str, name: str) -> MrpackError:
    if isinstance(error, GatedRepoError):
        page = f"https://{HUB_REGISTRY}/{repository}"
        return AccessDenied(
            f"{name} asks for consent to its terms", hint=f"give it at {page}, then {_LOG_IN}"
        )
    if isinstance(error, DisabledRepoError):
        return AccessDenied(f"{name} was disabled by the hub")
    if isinstance(error, RevisionNotFoundError):
        return NotFound(f"{name}: {repository} has no such revision")
    if isinstance(error, HfHubHTTPError):
        return _by_status(error, name)
    if isinstance(error, OfflineModeIsEnabled):
        return RegistryUnavailable(
            f"{name}: HF_HUB_OFFLINE keeps from asking the hub",
            hint="unset it, or package the snapshot folder of its cache",
        )
    if isinstance(error, HFValidationError):
        return UsageError(f"bad name of a Hugging Face repository: {name!r}")
    if isinstance(error, EntryNotFoundError | FileMetadataError) and error.__cause__ is not None:
        # "Not in the cache either", and why the hub could not be asked.
        return _translated(error.__cause__, repository, name)
    if isinstance(error, OSError) and error.errno is not None:
        return from_os_error(error, f"download {name}")
    return RegistryUnavailable(f"{name}: the hub cannot be reached: {_first_line(error)}")


def _by_status(error: HfHubHTTPError, name: str) -> MrpackError:
    status = error.response.status_code
    if status == 401:
        return AccessDenied(f"{name} does not exist, or not for everybody", hint=_LOG_IN)
    if status == 403:
        return AccessDenied(f"{name}: the hub refuses these credentials", hint=_LOG_IN)
    if status in {404, 410}:
        return NotFound(f"{name} is not there", hint="private repositories are hidden from who may not read")
    if status == 429:
        wait_s = _retry_after_s(error.response.headers)
        return RegistryUnavailable(
            f"{name}: the hub limits the rate of requests",
            hint=f"repeat in {wait_s:.0f} s" if wait_s else "repeat later; logging in raises the limit",
            retry_after_s=wait_s,
        )
    return RegistryUnavailable(f"{name}: the hub answers with status {status}")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """From `Retry-After` in seconds, else from `RateLimit`, which the hub sends."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    reset = _RESET.search(headers.get("RateLimit", ""))
    return float(reset[1]) if reset else None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
