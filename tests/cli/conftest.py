"""What several commands are tried with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.distribution import serving
from mrpack.store.layout import OciLayout


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of one that can be written to."""
    with serving(OciLayout(tmp_path / "served"), writable=True) as address:
        yield address
