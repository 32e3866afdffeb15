"""The one door to huggingface_hub, which goes about its work without telemetry here.

Left alone it tells in every request which programs surround it, and fetches a list of what to look for.
"""

from __future__ import annotations

import os
from typing import Final

# Read once, when the library is imported.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

__all__ = [
    "HTTP_ERROR",
    "DisabledRepoError",
    "EntryNotFoundError",
    "FileMetadataError",
    "GatedRepoError",
    "HFValidationError",
    "HfApi",
    "HfHubHTTPError",
    "OfflineModeIsEnabled",
    "RepoFile",
    "RevisionNotFoundError",
]

# The root of its HTTP library's errors, those of the network too: httpx up to 1.x, httpx2 from 2.0 on.
HTTP_ERROR: Final[type[Exception]] = HfHubHTTPError.__bases__[0]
