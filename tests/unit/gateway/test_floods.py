"""A thousand clients at once: those who dawdle are cut, those who listen get all that is theirs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from mrpack.errors import EngineFailed
from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.pool import Pool
from mrpack_runtime.scheduling import PoolLimits
from mrpack_runtime.wire.endpoint import UnixEndpoint
from mrpack_runtime.wire.upstream import Upstream
from tests.fakes.gateway import (
    CHAT,
    Answer,
    chat_body,
    exists,
    gateway,
    read_chunks,
    read_head,
    request_bytes,
    until,
)
from tests.unit.scheduling.test_pool import stage

COUNT = 1000
ROUNDS = 100
PATIENCE_S = 240.0
JSON = {"Content-Type": "application/json"}


async def until_closed(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionResetError, BrokenPipeError):
        while await reader.read(65536):
            pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nX: ",
        request_bytes("POST", CHAT, b'{"mod', {**JSON, "Content-Length": "1000"}),
    ],
    ids=["half a header", "half a body"],
)
def test_a_thousand_who_dawdle_are_cut_while_others_are_answered(short_folder, start):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            opened = [await g.client.connect() for _ in range(COUNT)]
            try:
                for _, writer in opened:
                    writer.write(start)
                ends = [asyncio.create_task(until_closed(reader)) for reader, _ in opened]
                async with asyncio.timeout(PATIENCE_S):
                    while not all(end.done() for end in ends):
                        assert (await g.client.chat()).status == 200
                        await asyncio.sleep(0.1)
            finally:
                for _, writer in opened:
                    writer.transport.abort()

    run_loop(main())


@pytest.mark.slow
def test_a_thousand_streams_at_once_arrive_whole_and_unmixed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()

            async def stream(number: int) -> str:
                words = " ".join(f"word{number}-{n}" for n in range(10))
                body = chat_body(prompt=f"echo {words}", stream=True, fake={"delay": 0.02})
                reader, writer = await g.client.connect()
                writer.write(request_bytes("POST", CHAT, json.dumps(body).encode(), JSON))
                status, headers = await read_head(reader)
                assert status == 200
                answer = Answer(status, headers, b"".join([piece async for piece in read_chunks(reader)]))
                writer.close()
                assert answer.events[-1] == "[DONE]"
                assert answer.text == words
                return answer.text

            async with asyncio.timeout(PATIENCE_S):
                found = await asyncio.gather(*(stream(number) for number in range(COUNT)))
            assert len(set(found)) == COUNT
            await until(lambda: g.pool.snapshot()[0].busy == 0)

    run_loop(main())


def test_more_new_connections_than_an_engine_lets_wait_are_made_one_after_another(short_folder):
    path = short_folder / "s"

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(5)  # as llama.cpp does
            upstream = Upstream(UnixEndpoint(path))
            asking = [asyncio.create_task(upstream.get("/")) for _ in range(50)]
            await asyncio.wait(asking, timeout=0.2)
            server = await asyncio.start_unix_server(answer, sock=listener)
            async with asyncio.timeout(PATIENCE_S):
                assert {(await task).head.status for task in asking} == {204}
            upstream.close()
            server.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    run_loop(main())


@pytest.mark.slow
def test_a_hundred_rounds_of_start_stop_and_crash_leave_no_orphan(short_folder):
    async def rounds(folder: Path) -> None:
        async with stage(folder, limits=PoolLimits(crash_limit=1000)) as s:
            want = await s.want("a")
            pids = []
            for number in range(ROUNDS):
                s.engine.mode = ("ok", "crash", "ignore-term", "grandchild")[number % 4]
                with suppress(EngineFailed):
                    lease = await s.pool.acquire(want)
                    lease.release()
                    pids.append(s.pool.snapshot()[0].pid)
                if number % 3 or s.engine.mode == "ignore-term":  # else its grace is waited for
                    await kill(s.pool)
                else:
                    await s.pool.unload([want.key], force=True)
                await until(lambda: not s.pool.snapshot())
            assert len(pids) == ROUNDS * 3 // 4
            assert not [pid for pid in pids if exists(Path(f"/proc/{pid}"))]

    asyncio.run(rounds(short_folder))


async def kill(pool: Pool) -> None:
    for shot in pool.snapshot():
        if shot.pid is not None:
            os.kill(shot.pid, signal.SIGKILL)
