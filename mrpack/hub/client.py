"""The Hugging Face hub through huggingface_hub: listing a repository at one commit, and downloading from it.

Tokens, `HF_ENDPOINT`, `HF_HOME` and the rest of its environment are read by that library. What it has
downloaded stays in its cache, which other programs share.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, cast

from mrpack.content.progress import Advanced, Finished, Outcome, Planned, Report
from mrpack.digest import BUFFER_SIZE, Digest
from mrpack.errors import IntegrityError, RegistryUnavailable
from mrpack.hub.failures import translating
from mrpack.hub.library import HfApi, RepoFile
from mrpack.hub.listing import HubFile, HubListing
from mrpack.hub.reference import HubReference
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.mediatypes import OCTET_STREAM
from mrpack.version import VERSION

_TIMEOUT_S: Final = 30.0
# How long Ctrl-C waits for downloads to put away what they have begun.
_PATIENCE_S: Final = 2.0


class HubClient:
    """One hub. Thread-safe. `cache`: huggingface_hub's own, unless given; `endpoint`, `token` likewise."""

    def __init__(
        self, *, endpoint: str | None = None, token: str | None = None, cache: Path | None = None
    ) -> None:
        self._api = HfApi(endpoint=endpoint, token=token, library_name="mrpack", library_version=VERSION)
        self._cache = cache

    def list_files(self, reference: HubReference) -> HubListing:
        """All files at the commit that the reference means now.

        Raises:
            NotFound, AccessDenied, RegistryUnavailable
        """
        name = f"hf.co/{reference}"
        with translating(reference.repository, name):
            found = self._api.model_info(
                reference.repository, revision=reference.revision, timeout=_TIMEOUT_S
            )
            if found.sha is None:
                raise RegistryUnavailable(f"{name}: the hub names no commit")
            entries = self._api.list_repo_tree(found.id, revision=found.sha, recursive=True)
            files = [_hub_file(entry) for entry in entries if isinstance(entry, RepoFile)]
        files.sort(key=lambda file: file.path)
        return HubListing(repository=found.id, revision=found.sha, files=tuple(files))

    def download(self, listing: HubListing, files: Sequence[HubFile], *, jobs: int, report: Report) -> Path:
        """The folder of this commit in the cache, with at least `files` in it; complete files are kept.

        Sizes are checked, and the content of small files. That of large ones is not: it is hashed when it is
        packed, and compared then.

        Raises:
            IntegrityError: the hub sends something else than it lists.
            NotFound, AccessDenied, RegistryUnavailable, HostRefused
        """
        report(Planned(tuple(described for file in files if (described := _descriptor(file)))))
        stop = threading.Event()
        fetch = partial(self._fetch, listing, report=report, stop=stop)
        # Largest first, so that the last worker is not left with the longest file.
        ordered = sorted(files, key=lambda file: file.size, reverse=True)
        paths = _run([partial(fetch, file) for file in ordered], jobs, stop)
        return paths[0].parents[ordered[0].path.count("/")]

    def _fetch(self, listing: HubListing, file: HubFile, *, report: Report, stop: threading.Event) -> Path:
        watch = _Watch(file, report, stop)
        name = f"hf.co/{listing.repository}/{file.path}"
        with translating(listing.repository, name):
            path = self._hub_download(listing, file, watch, force=False)
            if not _is_sound(path, file):
                path = self._hub_download(listing, file, watch, force=True)
                if not _is_sound(path, file):
                    raise IntegrityError(f"{name}: the hub sends something else than it lists")
        watch.finish()
        return path

    def _hub_download(self, listing: HubListing, file: HubFile, watch: _Watch, *, force: bool) -> Path:
        if watch.stop.is_set():
            raise _StoppedError
        path = self._api.hf_hub_download(
            listing.repository,
            file.path,
            revision=listing.revision,
            cache_dir=self._cache,
            force_download=force,
            tqdm_class=cast("Any", watch.bar_class()),
        )
        return Path(path)


class _StoppedError(Exception):
    """Another download failed, or the user has had enough."""


class _Watch:
    """Reports one file, and ends its download when it is told to."""

    def __init__(self, file: HubFile, report: Report, stop: threading.Event) -> None:
        self.stop = stop
        self._blob = _descriptor(file)
        self._report = report
        self._begun = False

    def advance(self, position: int) -> None:
        if self.stop.is_set():
            raise _StoppedError
        self._begun = True
        if self._blob is not None:
            self._report(Advanced(self._blob, position))

    def finish(self) -> None:
        if self._blob is not None:
            outcome = Outcome.TRANSFERRED if self._begun else Outcome.EXISTING
            self._report(Finished(self._blob, outcome))

    def bar_class(self) -> type[_Bar]:
        return type("Bar", (_Bar,), {"watch": self})


class _Bar:
    """What huggingface_hub uses of a progress bar: it makes one of the class it is given, and updates it."""

    watch: _Watch

    def __init__(
        self, *_args: object, initial: int = 0, total: int | None = None, **_options: object
    ) -> None:
        self.n = initial
        self.total = total

    def update(self, count: float | None = 1) -> None:
        self.n += int(count or 0)
        self.watch.advance(self.n)

    def update_transfer(self, _count: float | None = 1) -> None:
        """Bytes on the wire, which are fewer where the hub leaves out what is known."""

    def set_postfix_str(self, *_args: object, **_options: object) -> None:
        pass

    set_transfer_postfix_str = set_description = set_description_str = refresh = close = set_postfix_str

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass


def _run(calls: Sequence[Callable[[], Path]], jobs: int, stop: threading.Event) -> list[Path]:
    """The results, in order; the first failure stops the others."""
    pool = ThreadPoolExecutor(max_workers=max(1, min(jobs, len(calls))))
    futures: list[Future[Path]] = []
    try:
        futures = [pool.submit(call) for call in calls]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BaseException:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait(futures, timeout=_PATIENCE_S)
        raise
    pool.shutdown()
    return [future.result() for future in futures]


def _hub_file(entry: RepoFile) -> HubFile:
    digest = Digest.parse(f"sha256:{entry.lfs.sha256}", entry.path) if entry.lfs else None
    size = entry.lfs.size if entry.lfs else entry.size
    return HubFile(path=entry.path, size=size, blob_id=entry.blob_id, digest=digest)


def _descriptor(file: HubFile) -> Descriptor | None:
    """The blob that a large file will be; of small ones nobody knows it yet."""
    if file.digest is None:
        return None
    return Descriptor(media_type=OCTET_STREAM, digest=file.digest, size=file.size)


def _is_sound(path: Path, file: HubFile) -> bool:
    """Its size, and of a file in git the hash that git has."""
    size = path.stat().st_size
    if size != file.size or file.digest is not None:
        return size == file.size
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)  # as `git hash-object`
    with path.open("rb") as content:
        while chunk := content.read(BUFFER_SIZE):
            digest.update(chunk)
    return digest.hexdigest() == file.blob_id
