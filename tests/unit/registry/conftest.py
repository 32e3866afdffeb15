"""A fake registry, a stranger beside it, and sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mrpack.registry import RegistrySession
from tests.fakes.certificates import Authority, make_authority
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_scene import SETTINGS


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def stranger() -> Iterator[FakeRegistry]:
    """On the same host and another port: another origin."""
    with FakeRegistry() as fake:
        yield fake


@pytest.fixture
def session() -> Iterator[RegistrySession]:
    with RegistrySession(SETTINGS) as opened:
        yield opened


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))
