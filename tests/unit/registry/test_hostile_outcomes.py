"""Every way in which a registry was found to do harm ends as stated, and leaves nothing behind."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.zygote import Zygote
from tests.fakes.certificates import Authority
from tests.fakes.registry import FakeRegistry
from tests.hostile.cases import CASES
from tests.hostile.stage import Stage, write_layout
from tests.program import empty_environment


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    folder = tmp_path_factory.mktemp("zygote")
    environment = {**empty_environment(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    with Zygote(folder, environment, no_sleep=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    write_layout(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_hostile(name: str, zygote: Zygote, layout: Path, authority: Authority, tmp_path: Path) -> None:
    case = CASES[name]
    tls: ssl.SSLContext | None = authority.server_context() if case.tls else None
    with FakeRegistry(tls) as registry, FakeRegistry() as stranger:
        stage = Stage(registry, stranger, tmp_path, layout, authority.ca_file, case.tls)
        with stage.closing:
            assert stage.problems_of(zygote, case) == []
