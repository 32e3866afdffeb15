"""What every kind of test may ask for: the program in a fresh home, and a tiny model."""

from __future__ import annotations

import gc
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.effort import EFFORT
from tests.program import Mrpack, empty_environment

# Started in the background of a shell we would ignore Ctrl-C, and so would every program that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something about the machine, nothing about the code. Every run tries the same
# ones, but for those who ask for more.
settings.register_profile(
    "mrpack", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=EFFORT == 1
)
settings.load_profile("mrpack")


class ShowsFailuresAtOnce:
    """The whole of each as it comes, so that a log which is cut still says what failed."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._terminal.write_line("")
            self._terminal.section(f"{report.when} of {report.nodeid}", sep="_", red=True)
            self._terminal.write_line(report.longreprtext)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # Processes of xdist have no terminal: they report to the one that has.
    if terminal := config.pluginmanager.get_plugin("terminalreporter"):
        config.pluginmanager.register(ShowsFailuresAtOnce(terminal))


def pytest_collection_finish() -> None:
    """Thousands of tests are no garbage: looking at them again takes a good part of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def mrpack(home: Path, tmp_path: Path) -> Mrpack:
    return Mrpack(empty_environment(home), tmp_path)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """With a path that leaves room for a socket's, which may have 103 characters."""
    folder = Path(tempfile.mkdtemp(prefix="m"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fakes.tiny_gguf import write_markov

    return write_markov(tmp_path_factory.mktemp("tiny"))
