"""Streams, clients that leave, and engines in trouble, with a real engine program behind the gateway."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mrpack_runtime.scheduling import Phase, PoolLimits
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import (
    CHAT,
    Running,
    chat_body,
    exists,
    gateway,
    read_answer,
    read_events,
    read_head,
    request_bytes,
    until,
)
from tests.waiting import DEADLINE_S

JSON = {"Content-Type": "application/json"}
# A stream that outlives every test that does not end it.
ENDLESS = {"chunks": 2000, "delay": 0.1}


def is_idle(g: Running) -> bool:
    return all(snapshot.busy == 0 for snapshot in g.pool.snapshot())


async def no_open_streams(g: Running) -> None:
    async def none_open() -> bool:
        return (await g.engine_state())["open"] == 0

    await until(none_open)


def test_a_stream_arrives_event_by_event_and_whole(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.chat(stream=True, stream_options={"include_usage": True})
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream"
            assert answer.headers["cache-control"] == "no-store"
            assert answer.text == "Hello from a fake engine."
            assert answer.events[-1] == "[DONE]"
            assert answer.events[-2]["usage"]["completion_tokens"] == 5
            assert {event["model"] for event in answer.events[:-1]} == {"localhost/fake:latest"}

    asyncio.run(main())


def test_the_first_event_does_not_wait_for_the_second(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            body = json.dumps(chat_body(stream=True, fake={"chunks": 2, "delay": 600})).encode()
            writer.write(request_bytes("POST", CHAT, body, JSON))
            async with asyncio.timeout(DEADLINE_S):
                await read_head(reader)
                first = await anext(read_events(reader))
            assert first["choices"][0]["delta"]["role"] == "assistant"
            writer.close()

    asyncio.run(main())


def test_ten_thousand_chunks_arrive_complete_and_in_order(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            prompt = "echo " + " ".join(f"w{i}" for i in range(10_000))
            answer = await g.client.chat(prompt=prompt, stream=True)
            assert answer.text == prompt.removeprefix("echo ")
            assert answer.events[-1] == "[DONE]"

    asyncio.run(main())


def test_streams_at_once_are_not_mixed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            prompts = ["echo " + " ".join(f"{i}.{j}" for j in range(50)) for i in range(40)]
            answers = await asyncio.gather(
                *(
                    g.client.chat(prompt=prompt, stream=True, fake={"chunks": 50, "delay": 0.002})
                    for prompt in prompts
                )
            )
            assert [answer.text for answer in answers] == [prompt.removeprefix("echo ") for prompt in prompts]

    asyncio.run(main())


def test_another_request_is_answered_while_one_streams(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            _, writer = await g.client.start_stream(**ENDLESS)
            assert (await g.client.chat()).status == 200
            assert (await g.client.chat(stream=True)).text == "Hello from a fake engine."
            assert g.pool.snapshot()[0].busy == 1
            writer.close()

    asyncio.run(main())


def test_a_client_that_leaves_ends_the_stream_of_the_engine(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for leave in ("close", "abort"):
                _, writer = await g.client.start_stream(**ENDLESS)
                assert (await g.engine_state())["open"] == 1
                writer.close() if leave == "close" else writer.transport.abort()
                await no_open_streams(g)
                await until(lambda: is_idle(g))

    asyncio.run(main())


def test_two_hundred_clients_that_leave_leave_nothing_behind(short_folder, caplog):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            for _ in range(4):
                streams = await asyncio.gather(*(g.client.start_stream(**ENDLESS) for _ in range(50)))
                for _, writer in streams:
                    writer.transport.abort()
            await no_open_streams(g)
            await until(lambda: is_idle(g))
            assert (await g.engine_state())["streams"] == 200
            assert (await g.client.chat()).status == 200

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_leaves_before_the_answer_frees_the_engine(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.chat()
            _, writer = await g.client.connect()
            body = json.dumps(chat_body(fake={"delay": 600})).encode()
            writer.write(request_bytes("POST", CHAT, body, JSON))
            await until(lambda: not is_idle(g))
            writer.close()
            await until(lambda: is_idle(g))

    asyncio.run(main())


def test_a_load_goes_on_when_its_client_leaves(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="slow", arguments=("--load-time", "0.5"))) as g:
            _, writer = await g.client.connect()
            writer.write(request_bytes("POST", CHAT, json.dumps(chat_body()).encode(), JSON))
            await until(lambda: len(g.pool.snapshot()) == 1)
            writer.close()
            assert (await g.client.chat()).status == 200
            assert len(g.engine.launches) == 1
            await until(lambda: is_idle(g))

    asyncio.run(main())


def test_who_asked_first_may_leave_and_the_others_still_get_their_answers(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="wait")) as g:
            _, first = await g.client.connect()
            first.write(request_bytes("POST", CHAT, json.dumps(chat_body()).encode(), JSON))
            await until(lambda: len(g.pool.snapshot()) == 1)
            others = [asyncio.create_task(g.client.chat()) for _ in range(5)]
            await until(lambda: g.pool.waiting == 6)
            first.transport.abort()
            await until(lambda: g.pool.waiting == 5)
            g.engine.let_go()
            assert {(await other).status for other in others} == {200}
            assert len(g.engine.launches) == 1

    asyncio.run(main())


def test_requests_during_a_load_share_it(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="slow")) as g:
            answers = await asyncio.gather(*(g.client.chat() for _ in range(20)))
            assert {answer.status for answer in answers} == {200}
            assert len(g.engine.launches) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("mode", "words"), [("die-mid-stream", "crashed"), ("cut-stream", "closed the connection")]
)
def test_a_stream_that_breaks_ends_with_an_error_event(short_folder, mode, words):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode=mode)) as g:
            answer = await g.client.chat(stream=True)
            assert answer.status == 200
            assert "[DONE]" not in answer.events
            error = answer.events[-1]["error"]
            assert words in error["message"]
            assert (error["type"], error["param"]) == ("server_error", None)
            assert answer.body.endswith(b"\n\n")
            if mode == "die-mid-stream":
                assert "lost the device" in error["log_tail"]
            assert [len(event["choices"]) for event in answer.events[:-1]] == [1, 1]

    asyncio.run(main())


def test_the_next_request_starts_a_crashed_engine_again(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="die-mid-stream")) as g:
            await g.client.chat(stream=True)
            g.engine.mode = "ok"
            assert (await g.client.chat(stream=True)).text == "Hello from a fake engine."
            assert len(g.engine.launches) == 2

    asyncio.run(main())


FAULTS: list[tuple[str, int, str, str]] = [
    ("crash", 502, "engine_failed", "tensor data is cut"),
    ("oom", 502, "engine_failed", "SIGKILL"),
    ("crash-loop", 502, "engine_failed", "GGML_ASSERT"),
    ("oom-on-request", 502, "engine_failed", "SIGKILL"),
    ("garbage", 502, "engine_broke_protocol", "does not speak HTTP"),
    ("bad-json", 502, "engine_broke_protocol", "not JSON"),
    ("server-error", 500, "engine_error", "fake failure"),
]


@pytest.mark.parametrize(("mode", "status", "code", "words"), FAULTS)
def test_each_fault_of_an_engine_has_its_status(short_folder, mode, status, code, words):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode=mode)) as g:
            answer = await g.client.chat()
            assert answer.status == status
            error = answer.json["error"]
            assert error["code"] == code
            assert words in error["message"] + error.get("log_tail", "")
            assert error["type"] == "server_error"
            assert (await g.client.get("/health")).status == 200

    asyncio.run(main())


def test_an_engine_that_never_gets_ready_is_given_up(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="hang"), ready_timeout_s=0.3) as g:
            answer = await g.client.chat()
            assert answer.status == 502
            assert "not ready after 0.3 s" in answer.json["error"]["message"]
            await until(lambda: not g.pool.snapshot())

    asyncio.run(main())


def test_a_crash_loop_is_cut_and_tells_when_to_come_back(short_folder):
    async def main() -> None:
        limits = PoolLimits(crash_limit=3, crash_window_s=600)
        async with gateway(short_folder, FakeEngine(mode="crash"), limits=limits) as g:
            assert [(await g.client.chat()).status for _ in range(3)] == [502, 502, 502]
            answer = await g.client.chat()
            assert answer.status == 503
            assert 500 <= int(answer.headers["retry-after"]) <= 600
            error = answer.json["error"]
            assert error["code"] == "engine_crash_loop"
            assert "tensor data is cut" in error["message"]
            assert len(g.engine.launches) == 3

    asyncio.run(main())


def test_all_who_wait_hear_of_a_failed_load(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="crash")) as g:
            answers = await asyncio.gather(*(g.client.chat() for _ in range(10)))
            assert {answer.status for answer in answers} <= {502, 503}
            assert all("tensor data is cut" in answer.json["error"]["message"] for answer in answers)
            assert len(g.engine.launches) <= 3

    asyncio.run(main())


def test_a_stalled_engine_is_left_when_its_client_leaves(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode="stall")) as g:
            _, writer = await g.client.start_stream()
            writer.close()
            await no_open_streams(g)
            await until(lambda: is_idle(g))

    asyncio.run(main())


def test_a_slow_client_slows_the_engine_and_not_the_gateway(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            word = "x" * 1000
            body = json.dumps(chat_body(prompt=f"echo {word}", stream=True, fake={"chunks": 40_000})).encode()
            writer.write(request_bytes("POST", CHAT, body, JSON))
            await read_head(reader)
            assert (await g.client.chat()).status == 200
            state = await g.engine_state()
            assert state["open"] == 1  # 40 MB do not fit into the buffers between
            count = 0
            async for event in read_events(reader):
                count += event != "[DONE]" and bool(event["choices"][0]["delta"].get("content"))
            assert count == 40_000
            writer.close()

    asyncio.run(main())


def test_large_answers_and_requests_pass(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            text = "ä" * 1_500_000
            answer = await g.client.chat(prompt=f"echo {text}")
            assert answer.status == 200
            assert answer.json["choices"][0]["message"]["content"] == text
            assert answer.json["model"] == "localhost/fake:latest"

    asyncio.run(main())


def test_many_requests_share_a_connection_to_the_client(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            for number in range(30):
                body = json.dumps(chat_body(prompt=f"echo {number}", stream=number % 2 == 1)).encode()
                writer.write(request_bytes("POST", CHAT, body, JSON))
                answer = await read_answer(reader)
                found = answer.text if number % 2 else answer.json["choices"][0]["message"]["content"]
                assert found == str(number)
            writer.close()

    asyncio.run(main())


def test_idle_engines_end_and_come_back(short_folder):
    async def main() -> None:
        async with gateway(short_folder, settings='{"keep_alive": "50ms"}') as g:
            assert (await g.client.chat()).status == 200
            await until(lambda: not g.pool.snapshot())
            assert (await g.client.chat()).status == 200
            assert len(g.engine.launches) == 2

    asyncio.run(main())


def test_a_keep_alive_without_end_sets_no_timer(short_folder):
    async def main() -> None:
        async with gateway(short_folder, settings='{"keep_alive": "-1"}') as g:
            await g.client.chat()
            (shot,) = g.pool.snapshot()
            assert shot.keep_alive_s is None
            assert (shot.phase, shot.busy) == (Phase.READY, 0)

    asyncio.run(main())


def test_a_keep_alive_of_zero_ends_an_engine_after_its_last_request(short_folder):
    async def main() -> None:
        async with gateway(short_folder, settings='{"keep_alive": "0"}') as g:
            reader, writer = await g.client.start_stream(wait=True)
            answers = await asyncio.gather(*(g.client.chat() for _ in range(5)))
            assert {answer.status for answer in answers} == {200}
            g.engine.let_go()
            assert [event async for event in read_events(reader)][-1] == "[DONE]"
            await until(lambda: not g.pool.snapshot())
            assert len(g.engine.launches) == 1
            writer.close()

    asyncio.run(main())


def test_the_least_recently_used_model_makes_room(short_folder):
    async def main() -> None:
        names = tuple(f"localhost/m{number}:latest" for number in range(3))
        async with gateway(short_folder, limits=PoolLimits(max_loaded=2), models=names) as g:
            for name in ("m0", "m1", "m0", "m2"):
                assert (await g.client.chat(name)).status == 200
            await until(lambda: all(snapshot.phase is Phase.READY for snapshot in g.pool.snapshot()))
            assert [snapshot.model for snapshot in g.pool.snapshot()] == [names[0], names[2]]

    asyncio.run(main())


def test_models_that_take_turns_in_one_place_all_answer(short_folder):
    async def main() -> None:
        names = tuple(f"localhost/m{number}:latest" for number in range(3))
        async with gateway(short_folder, limits=PoolLimits(max_loaded=1), models=names) as g:
            answers = await asyncio.gather(*(g.client.chat(f"m{number % 3}") for number in range(12)))
            assert [(answer.status, answer.json["model"]) for answer in answers] == [
                (200, names[number % 3]) for number in range(12)
            ]

    asyncio.run(main())


def test_a_drain_lets_streams_end_and_takes_no_more(short_folder):
    async def main() -> None:
        done: list[Any] = []

        async def read(reader: asyncio.StreamReader) -> None:
            done.extend([event async for event in read_events(reader)])

        async with gateway(short_folder, drain_s=DEADLINE_S) as g:
            reader, writer = await g.client.start_stream(chunks=60, wait=True)
            idle_reader, idle_writer = await g.client.connect()
            idle_writer.write(request_bytes("GET", "/ready"))
            assert (await read_answer(idle_reader)).status == 200
            pid = g.pool.snapshot()[0].pid
            task = asyncio.create_task(read(reader))
            ask = asyncio.create_task(ask_while_draining(g, idle_reader, idle_writer))
        await task
        assert done[-1] == "[DONE]"
        await ask
        assert not exists(Path(f"/proc/{pid}"))
        writer.close()

    async def ask_while_draining(
        g: Running, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await until(lambda: g.pool.is_draining)
        writer.write(request_bytes("POST", CHAT, json.dumps(chat_body()).encode(), JSON))
        answer = await read_answer(reader)
        assert answer.status == 503
        assert "retry-after" in answer.headers
        g.engine.let_go()
        writer.close()

    asyncio.run(main())


def test_a_drain_that_takes_too_long_cuts_and_leaves_no_engine(short_folder):
    async def main() -> None:
        async with gateway(short_folder, drain_s=0.1) as g:
            _, writer = await g.client.start_stream(**ENDLESS)
            pid = g.pool.snapshot()[0].pid
        assert not exists(Path(f"/proc/{pid}"))
        writer.close()

    asyncio.run(main())


def test_an_engine_with_quirks_is_spoken_to_in_its_own_way(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(quirks="llama_cpp_server")) as g:
            answer = await g.client.chat(max_completion_tokens=3)
            assert answer.json["choices"][0]["message"]["content"] == "Hello from a fake engine."
            assert answer.json["model"] == "localhost/fake:latest"
            assert (await g.engine_requests())[0]["body"]["max_tokens"] == 3
            streamed = await g.client.chat(stream=True)
            assert streamed.text == "Hello from a fake engine."
            assert streamed.events[-1] == "[DONE]"
            assert {event["model"] for event in streamed.events[:-1]} == {"localhost/fake:latest"}

    asyncio.run(main())


def test_an_engine_that_can_do_one_thing_at_a_time_is_asked_one_thing_at_a_time(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(quirks="llama_cpp_server")) as g:
            _, writer = await g.client.start_stream(**ENDLESS)
            second = asyncio.create_task(g.client.chat())
            await until(lambda: g.pool.snapshot()[0].busy == 2)
            assert len(await g.engine_requests()) == 1
            assert not second.done()
            writer.close()
            assert (await second).status == 200

    asyncio.run(main())


@pytest.mark.parametrize(("mode", "status"), [("server-error", 500), ("bad-json", 502), ("cut-stream", 200)])
def test_quirks_do_not_hide_trouble(short_folder, mode, status):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(mode=mode, quirks="llama_cpp_server")) as g:
            answer = await g.client.chat(stream=mode == "cut-stream")
            assert answer.status == status
            error = answer.events[-1]["error"] if mode == "cut-stream" else answer.json["error"]
            assert error["message"]

    asyncio.run(main())
