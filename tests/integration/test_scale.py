"""Models far larger than the memory that is allowed for them: 2 GiB in one file, and ten thousand files."""

from __future__ import annotations

import contextlib
import json
import mmap
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mrpack.distribution import serving
from mrpack.store.layout import OciLayout
from tests.fakes import measured, raw_gguf
from tests.fakes import registry_faults as faults
from tests.fakes.registry import FakeRegistry, Reply, Request
from tests.fakes.tiny_safetensors import write_llama
from tests.program import Mrpack

pytestmark = pytest.mark.slow

MIB = 1024**2
PART = 64 * MIB
SIZE = 2 * 1024**3
MEMORY = 64 * 1024**2
FILES = 10_000


@dataclass(frozen=True)
class Took:
    """In bytes."""

    out: str
    peak: int
    read: int


@pytest.fixture(autouse=True)
def little_is_left(tmp_path: Path) -> Iterator[None]:
    """Folders of tests are kept for a while: gigabytes are not."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture
def measure(mrpack: Mrpack, tmp_path: Path):
    """Runs mrpack, and says what it took."""

    def run(*arguments: str | Path) -> Took:
        report = tmp_path / "took.json"
        command = [sys.executable, measured.__file__, str(report), *map(str, arguments)]
        root = str(Path(measured.__file__).parents[2])
        done = subprocess.run(
            command,
            env={**mrpack.environment, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Took(out=done.stdout.strip(), **json.loads(report.read_text()))

    return run


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return write_model(tmp_path / "large.gguf", SIZE)


def write_model(path: Path, size: int) -> Path:
    """One tensor; its bytes are a hole in the file."""
    keys = [
        raw_gguf.pair("general.architecture", raw_gguf.STRING, "llama"),
        raw_gguf.pair("llama.context_length", raw_gguf.U32, 4096),
    ]
    head = raw_gguf.gguf(keys, [raw_gguf.tensor("output.weight", [1024, size // 4096])])
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


class Slow:
    """Gives a blob at 10 MiB/s a connection, and knows the most that were open at once."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._never = threading.Event()

    def __call__(self, _request: Request, reply: Reply) -> Reply:
        assert isinstance(reply.body, bytes)
        if len(reply.body) < MIB:
            return reply
        return replace(reply, body=self._paced(memoryview(reply.body)), declared=len(reply.body))

    def _paced(self, body: memoryview) -> Iterator[bytes]:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            for start in range(0, len(body), MIB):
                yield bytes(body[start : start + MIB])
                self._never.wait(0.1)
        finally:
            with self._lock:
                self._now -= 1


@contextlib.contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def test_other_settings_of_two_gibibytes_cost_no_weight_byte(
    mrpack: Mrpack, measure, large: Path, tmp_path: Path
) -> None:
    packaged = measure("package", large, "large:v1")
    assert packaged.peak < MEMORY
    assert packaged.read > SIZE
    weights = mrpack("inspect", "large:v1", "--json").json["files"][0]["digest"]
    nothing = measure("version")
    with mapped(large) as content, FakeRegistry() as registry:
        registry.blobs["team/large", weights] = content  # there from the first push
        again = measure(
            *("package", "--from", "large:v1", "--set", "context_size=2048"),
            *("--push", f"{registry.address}/team/large:short"),
        )
        sent = sum(len(request.body) for request in registry.seen())
        assert [request.name for request in registry.seen("PUT", "manifests")] == ["short"]
        del registry.blobs["team/large", weights]
    assert again.peak < MEMORY
    # What is read beyond the program itself are its modules for registries.
    assert again.read - nothing.read < 32 * 1024**2
    assert sent < 64 * 1024


def test_two_gibibytes_are_pushed_pulled_and_verified_in_little_memory(
    measure, mrpack: Mrpack, large: Path, tmp_path: Path
) -> None:
    digest = measure("package", large, "large:v1").out
    with serving(OciLayout(tmp_path / "served"), writable=True) as address:
        name = f"{address}/team/large:v1"
        pushed = measure("push", "large:v1", name)
        mrpack("rm", "large:v1")
        mrpack("gc")
        pulled = measure("pull", name)
    verified = measure("verify")
    assert pushed.out == pulled.out == digest
    for took in (pushed, pulled, verified):
        assert took.peak < MEMORY, took


def test_a_slow_registry_gets_more_connections_in_little_memory(
    measure, mrpack: Mrpack, tmp_path: Path
) -> None:
    digest = measure("package", write_model(tmp_path / "model.gguf", 4 * PART), "slow:v1").out
    with FakeRegistry() as registry:
        name = f"{registry.address}/team/slow:v1"
        mrpack("push", "slow:v1", name)
        mrpack("rm", "slow:v1")
        mrpack("gc")
        slow = Slow()
        registry.fault("team/slow", faults.on_blobs(slow))
        pulled = measure("pull", name)
    assert pulled.out == digest
    assert slow.most > 1
    assert pulled.peak < MEMORY


@pytest.mark.timeout(900)
def test_a_folder_of_many_files_goes_round_in_little_memory(measure, mrpack: Mrpack, tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "many")
    for number in range(FILES - len(list(folder.iterdir()))):
        path = folder / f"part{number // 1000}" / f"{number:05}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"number":{number}}}')
    packaged = measure("package", folder, "many:v1")
    with serving(OciLayout(tmp_path / "served"), writable=True) as address:
        name = f"{address}/team/many:v1"
        pushed = measure("push", "many:v1", name)
        mrpack("rm", "many:v1")
        mrpack("gc")
        pulled = measure("pull", name)
    assert packaged.out == pushed.out == pulled.out
    found = Path(mrpack("resolve", name, "--json").json["folder"])
    assert sum(path.is_file() for path in found.rglob("*")) == FILES
    for took in (packaged, pushed, pulled):
        assert took.peak < MEMORY, took
