"""A store on disk, its layout, and a client of the server that may write to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mrpack.distribution import serving
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.fakes.api_client import ApiClient


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def layout(store: Store) -> OciLayout:
    return store.layout


@pytest.fixture
def api(layout: OciLayout) -> Iterator[ApiClient]:
    with serving(layout, writable=True) as address:
        yield ApiClient(address)


@pytest.fixture
def ingested(layout: OciLayout) -> Callable[[], list[Path]]:
    """The files of uploads that are not at their end."""

    def files() -> list[Path]:
        folder = layout.blobs.ingest_folder
        return sorted(folder.iterdir()) if folder.is_dir() else []

    return files
