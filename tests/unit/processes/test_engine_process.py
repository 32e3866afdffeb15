"""EngineProcess and its leash against a real engine program with faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import EngineFailed, HostRefused
from mrpack_runtime.engine import EngineSettings, Launch, LaunchRequest
from mrpack_runtime.machine.host import HostFacts, probe_host
from mrpack_runtime.processes.process import EngineProcess, EngineState, free_port
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint
from tests.fakes.fake_engine import PROGRAM, FakeEngine, fake_bundle
from tests.fakes.gateway import until
from tests.processes import is_alive, parent_of
from tests.waiting import DEADLINE_S
from tests.waiting import until as wait_until

HOST = probe_host({"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HF_TOKEN": "hf_secret"})

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups")


@pytest.fixture
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r") / "e"


def launch(run_folder: Path, engine: FakeEngine) -> Launch:
    folder = run_folder.parent / "bundle"
    folder.mkdir(exist_ok=True)
    (installation,) = engine.installations(HOST)
    return engine.launch(
        LaunchRequest(
            installation=installation,
            bundle=fake_bundle(folder),
            settings=EngineSettings(),
            host=HOST,
            run_folder=run_folder,
            free_port=free_port,
        )
    )


@asynccontextmanager
async def running(run_folder: Path, mode: str = "ok", **options: Any) -> AsyncIterator[EngineProcess]:
    process = EngineProcess(launch(run_folder, FakeEngine(mode=mode, **options)), HOST, run_folder)
    try:
        yield process
    finally:
        await process.stop(grace_s=5)


async def ask(process: EngineProcess, path: str, body: dict[str, Any] | None = None) -> Any:
    endpoint = process.launch.endpoint
    if isinstance(endpoint, UnixEndpoint):
        reader, writer = await asyncio.open_unix_connection(endpoint.path)
    else:
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    content = b"" if body is None else json.dumps(body).encode()
    verb = "GET" if body is None else "POST"
    writer.write(f"{verb} {path} HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length:")[1].split()[0])
        return json.loads(await reader.readexactly(length))
    finally:
        writer.close()


@pytest.mark.parametrize("tcp", [False, True])
def test_an_engine_starts_answers_and_stops(run_folder, tcp):
    async def scenario():
        async with running(run_folder, tcp=tcp) as process:
            assert process.state is EngineState.STOPPED
            await process.ensure_ready()
            assert process.state is EngineState.READY
            state = await ask(process, "/fake/state")
            assert state["pid"] == process.pid
            await process.stop()
            assert process.state is EngineState.STOPPED
            assert process.exit_status == 0
            assert not is_alive(state["pid"])

    asyncio.run(scenario())


def test_many_callers_share_one_start(run_folder):
    async def scenario():
        async with running(run_folder, mode="slow") as process:
            first = asyncio.create_task(process.ensure_ready())
            others = [asyncio.create_task(process.ensure_ready()) for _ in range(20)]
            await until(lambda: process.state is not EngineState.STOPPED)
            assert process.state is EngineState.STARTING
            first.cancel()  # the client that caused the load goes away
            await asyncio.gather(*others)
            assert process.state is EngineState.READY
            assert process.launch.argv.count(str(PROGRAM)) == 1
            await until(lambda: process.log_tail().count("listening") == 1)

    asyncio.run(scenario())


def test_a_crash_at_the_start_tells_status_and_the_engines_words(run_folder):
    async def scenario():
        async with running(run_folder, mode="crash") as process:
            with pytest.raises(
                EngineFailed, match=r"did not start: exit status 3: .*tensor data is cut"
            ) as caught:
                await process.ensure_ready()
            assert caught.value.exit_status == 3
            assert "loading model" in caught.value.log_tail
            assert process.state is EngineState.FAILED
            with pytest.raises(EngineFailed, match="exit status 3"):
                await process.ensure_ready()

    asyncio.run(scenario())


def test_a_program_that_is_not_there_is_an_engine_that_failed(run_folder):
    async def scenario():
        plan = Launch(
            engine="none",
            launcher="x",
            version="1",
            argv=("/nowhere/engine",),
            environment={},
            endpoint=UnixEndpoint(run_folder / "s"),
        )
        process = EngineProcess(plan, HOST, run_folder)
        with pytest.raises(EngineFailed, match="cannot start /nowhere/engine: No such file"):
            await process.ensure_ready()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mode", "words", "status"),
    [
        ("crash-loop", "crashed: exit status 4: .*GGML_ASSERT", 4),
        ("oom-on-request", "possibly out of memory", -9),
    ],
)
def test_a_crash_while_it_serves_is_noticed_and_named(run_folder, mode, words, status):
    async def scenario():
        async with running(run_folder, mode=mode) as process:
            await process.ensure_ready()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await ask(process, "/v1/completions", {"prompt": "x"})
            assert await process.wait_exit() == status
            assert process.state is EngineState.FAILED
            with pytest.raises(EngineFailed, match=words):
                await process.ensure_ready()

    asyncio.run(scenario())


def test_an_engine_killed_for_memory_while_loading_is_named_so(run_folder):
    async def scenario():
        async with running(run_folder, mode="oom") as process:
            with pytest.raises(EngineFailed, match="possibly out of memory") as caught:
                await process.ensure_ready()
            assert caught.value.exit_status == -signal.SIGKILL

    asyncio.run(scenario())


@pytest.mark.parametrize("mode", ["hang", "mute"])
def test_an_engine_that_never_gets_ready_is_ended_at_the_timeout(run_folder, mode):
    async def scenario():
        async with running(run_folder, mode=mode, ready_timeout_s=0.5) as process:
            with pytest.raises(EngineFailed, match=r"not ready after 0\.5 s"):
                await process.ensure_ready()
            assert process.state is EngineState.FAILED
            assert process.pid is not None
            assert not is_alive(process.pid)

    asyncio.run(scenario())


def test_a_stop_while_loading_ends_the_wait(run_folder):
    async def scenario():
        async with running(run_folder, mode="hang") as process:
            waiting = asyncio.create_task(process.ensure_ready())
            await until(lambda: process.pid is not None)
            await process.stop()
            with pytest.raises(EngineFailed, match="was stopped"):
                await waiting
            assert process.state is EngineState.STOPPED

    asyncio.run(scenario())


def test_a_stop_right_after_the_start_is_not_lost(run_folder):
    """Else it would end by SIGKILL, after the grace."""

    async def scenario():
        for _ in range(10):
            async with running(run_folder, mode="hang") as process:
                waiting = asyncio.create_task(process.ensure_ready())
                await until(lambda: process.pid is not None)
                async with asyncio.timeout(DEADLINE_S):
                    await process.stop(grace_s=600)
                with pytest.raises(EngineFailed, match="was stopped"):
                    await waiting
                assert process.exit_status in {-signal.SIGTERM, 0}, "before or after it minds signals itself"

    asyncio.run(scenario())


def test_a_stop_before_the_start_prevents_it(run_folder):
    async def scenario():
        process = EngineProcess(launch(run_folder, FakeEngine()), HOST, run_folder)
        await process.stop()
        with pytest.raises(EngineFailed, match="was stopped"):
            await process.ensure_ready()
        assert await process.wait_exit() is None

    asyncio.run(scenario())


def test_an_engine_that_ignores_term_is_killed_after_the_grace(run_folder):
    async def scenario():
        async with running(run_folder, mode="ignore-term") as process:
            await process.ensure_ready()
            await process.stop(grace_s=0.2)
            assert process.exit_status == -signal.SIGKILL
            assert process.state is EngineState.STOPPED

    asyncio.run(scenario())


@pytest.mark.parametrize("crash", [False, True])
def test_children_of_an_engine_end_with_it(run_folder, crash):
    async def scenario():
        async with running(run_folder, mode="grandchild") as process:
            await process.ensure_ready()
            children = (await ask(process, "/fake/state"))["children"]
            assert [is_alive(child) for child in children] == [True, True]
            if crash:
                os.kill(process.pid, signal.SIGABRT)
                assert await process.wait_exit() == -signal.SIGABRT
            else:
                await process.stop()
            assert [is_alive(child) for child in children] == [False, False]

    asyncio.run(scenario())


def test_a_foreign_process_on_the_port_is_not_trusted(run_folder):
    async def scenario():
        foreign_folder = run_folder.with_name("f")
        async with running(foreign_folder, tcp=True) as foreign:
            await foreign.ensure_ready()
            plan = launch(run_folder, FakeEngine(mode="hang"))
            stolen = Launch(
                engine="fake",
                launcher="program",
                version="1",
                argv=plan.argv,
                environment={},
                endpoint=foreign.launch.endpoint,
            )
            process = EngineProcess(stolen, HOST, run_folder)
            assert isinstance(foreign.launch.endpoint, TcpEndpoint)
            with pytest.raises(
                EngineFailed, match=f"another process answers on port {foreign.launch.endpoint.port}"
            ):
                await process.ensure_ready()
            assert foreign.state is EngineState.READY

    asyncio.run(scenario())


def test_an_engine_sees_only_the_allowed_environment(run_folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("N_CTX", "77")  # llama_cpp.server would take it

    async def scenario():
        async with running(run_folder) as process:
            await process.ensure_ready()
            seen = await ask(process, "/fake/environment")
        own = {"HOME", "TMPDIR", "PATH", "LANG", "LC_CTYPE"}
        own |= {f"XDG_{kind}_HOME" for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
        switches = {name for name in seen if seen[name] == "1"}
        assert set(seen) - own == switches
        assert {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "DO_NOT_TRACK"} <= switches
        assert seen["HOME"] == str(run_folder)

    asyncio.run(scenario())


def test_the_run_folder_is_private(run_folder):
    async def scenario():
        async with running(run_folder) as process:
            await process.ensure_ready()
            assert run_folder.stat().st_mode & 0o777 == 0o700
            assert process.log_path.stat().st_mode & 0o777 == 0o600

    asyncio.run(scenario())


def test_a_chatty_engine_does_not_block_and_its_tail_is_kept(run_folder):
    async def scenario():
        async with running(run_folder, mode="chatty") as process:
            await process.ensure_ready()
            # It answers before the leash has written what it said.
            await until(lambda: process.log_tail(lines=1) == "fake: listening")
            tail = process.log_tail(lines=3).splitlines()
            assert len(tail) == 3
            assert tail[-2].startswith("fake: line 9999 ")

    asyncio.run(scenario())


def test_a_log_is_rotated_at_its_limit(tmp_path):
    log = tmp_path / "engine.log"
    leash = Path(sys.modules[EngineProcess.__module__].__file__).with_name("leash.py")
    program = (sys.executable, "-c", "for i in range(20_000): print('line', i, flush=i % 100 == 0)")
    command = [sys.executable, "-I", "-S", leash, log, "65536", *program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.wait(DEADLINE_S) == 0
    older = tmp_path / "engine.log.1"
    assert log.stat().st_size < 2 * 65536
    assert older.stat().st_size < 3 * 65536
    text = older.read_text() + log.read_text()
    numbers = [int(line.split()[1]) for line in text.splitlines()[1:]]
    assert numbers == list(range(numbers[0], 20_000))


def test_a_socket_path_that_is_too_long_is_refused_before_the_start(tmp_path):
    async def scenario():
        folder = tmp_path / ("x" * 120)
        process = EngineProcess(launch(folder, FakeEngine()), HOST, folder)
        with pytest.raises(HostRefused, match="socket path"):
            await process.ensure_ready()
        assert process.state is EngineState.FAILED

    asyncio.run(scenario())


PARENT = """
import asyncio, json, sys
from pathlib import Path
from tests.unit.processes.test_engine_process import ask, running

async def main():
    async with running(Path(sys.argv[1]), mode=sys.argv[2]) as process:
        await process.ensure_ready()
        print(json.dumps(await ask(process, "/fake/state")), flush=True)
        await process.wait_exit()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("mode", ["ok", "ignore-term", "grandchild"])
@pytest.mark.parametrize("victim", ["gateway", "leash"])
def test_no_engine_outlives_its_gateway_or_its_leash(run_folder, mode, victim):
    """An engine whose leash was killed dies with it; its own children are beyond reach then."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, run_folder, mode],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    with parent:
        try:
            assert parent.stdout is not None
            state = json.loads(parent.stdout.readline())
            engine = state["pid"]
            leash = parent_of(engine)
            assert leash != parent.pid
            os.kill(parent.pid if victim == "gateway" else leash, signal.SIGKILL)
            wait_until(lambda: not is_alive(engine))
            wait_until(lambda: not is_alive(leash))
            for child in state["children"]:
                if victim == "leash":
                    os.kill(child, signal.SIGKILL)
                wait_until(lambda child=child: not is_alive(child))
        finally:
            parent.kill()


def test_free_port_is_bindable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))


def test_facts_of_this_host_are_plausible():
    host = probe_host(os.environ)
    assert isinstance(host, HostFacts)
    assert 1 <= host.physical_cores <= host.cpu_count <= (os.cpu_count() or 1)
    assert host.memory > 2**28
    assert host.find_program("sh") is not None
    assert host.find_program("no-such-program") is None
    assert host.pythons[-1].find_distribution("pytest") is not None
    assert host.pythons[-1].find_distribution("no-such-distribution") is None
    assert not {"HF_TOKEN", "AWS_SECRET_ACCESS_KEY"} & set(HOST.environment)
