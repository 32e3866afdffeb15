"""The commands' client against a real gateway."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import (
    AccessDenied,
    EngineFailed,
    HostRefused,
    IntegrityError,
    InvalidArtifact,
    MrpackError,
    NotFound,
    RegistryUnavailable,
    Unsupported,
    UsageError,
)
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.wire.client import GatewayClient, NotRunning, Stranger
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import chat_body, gateway, until
from tests.fakes.raw_server import RawServer, Script
from tests.waiting import until as wait_until


def ask(folder: Path, question: Callable[[GatewayClient], Any], **options: Any) -> Any:
    """Runs `question` in a thread, beside the gateway."""

    async def main() -> Any:
        async with gateway(folder, **options) as g:
            return await asyncio.to_thread(question, GatewayClient(g.client.endpoint, "key"))

    return asyncio.run(main())


def test_a_chat_is_a_stream_of_events(short_folder):
    def question(client: GatewayClient) -> list[Any]:
        return list(client.chat(chat_body(stream_options={"include_usage": True})))

    events = ask(short_folder, question)
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"]) == (
        "Hello from a fake engine."
    )
    assert events[-1]["usage"]["completion_tokens"] == 5


@pytest.mark.parametrize("mode", ["die-mid-stream", "cut-stream", "crash", "garbage"])
def test_engine_failures_carry_their_log(short_folder, mode):
    def question(client: GatewayClient) -> None:
        with pytest.raises(EngineFailed) as caught:
            list(client.chat(chat_body()))
        if mode in {"die-mid-stream", "crash"}:
            assert "fake: E" in caught.value.log_tail

    ask(short_folder, question, engine=FakeEngine(mode=mode))


def test_each_status_is_an_error_of_its_family(short_folder):
    def question(client: GatewayClient) -> None:
        for family, body in (
            (NotFound, chat_body("nope")),
            (UsageError, {"messages": []}),
            (UsageError, chat_body(n_discard=1)),
            (EngineFailed, chat_body("fake")),
        ):
            with pytest.raises(family):
                list(client.chat(body))
        with pytest.raises(NotFound):
            client.model("nope")
        with pytest.raises(UsageError):
            client.unload()

    ask(short_folder, question, engine=FakeEngine(mode="crash"))
    uninstalled = FakeEngine(installed=False)
    with pytest.raises(Unsupported):
        ask(short_folder, lambda client: list(client.chat(chat_body())), engine=uninstalled)
    with pytest.raises(AccessDenied, match="this API key") as caught:
        ask(short_folder, lambda client: client.ps(), policy=Policy(key_hashes=(hash_key("other"),)))
    assert "--api-key-file" in str(caught.value.hint)
    assert "Bearer" not in str(caught.value)


def test_a_key_is_sent(short_folder):
    assert ask(short_folder, lambda client: client.ps(), policy=Policy(key_hashes=(hash_key("key"),))) == []


def test_an_answer_that_is_left_stops_the_engine(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            client = GatewayClient(g.client.endpoint)

            def leave() -> None:
                with closing(client.chat(chat_body(fake={"chunks": 2000, "delay": 0.1}))) as events:
                    next(events)

            await asyncio.to_thread(leave)
            await until(lambda: g.pool.snapshot()[0].busy == 0)

    asyncio.run(main())


def test_a_gateway_on_a_socket_is_asked_in_the_same_way(short_folder):
    endpoint = UnixEndpoint(short_folder / "s")

    def question(client: GatewayClient) -> None:
        assert client.url == f"unix://{short_folder}/s"
        assert client.version() == "0"
        assert client.engines() == {"fake": "Available: program 1.0"}
        assert client.model("localhost/fake:latest")["id"] == "localhost/fake:latest"
        assert "".join(client.logs()) == ""
        list(client.chat(chat_body()))
        wait_until(lambda: "fake: listening" in "".join(client.logs()), "the engine's log")
        assert client.ps()[0]["model_name"] == "localhost/fake:latest"
        assert client.unload(("fake",))["unloaded_runners"] == 1

    ask(short_folder, question, endpoint=endpoint, policy=Policy(check_host=False))


def test_nobody_and_others_are_not_a_gateway(tmp_path):
    with pytest.raises(NotRunning):
        GatewayClient(UnixEndpoint(tmp_path / "none")).version()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = GatewayClient(TcpEndpoint(port))
        for answer in (
            b"",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<h1>",
        ):

            async def main(answer: bytes = answer) -> None:
                asked = asyncio.create_task(asyncio.to_thread(client.version))
                connection, _ = await asyncio.to_thread(listener.accept)
                with connection:
                    await asyncio.to_thread(connection.recv, 1000)
                    connection.sendall(answer)
                with pytest.raises(Stranger):
                    await asked

            asyncio.run(main())


def test_a_program_that_listens_and_says_nothing_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = GatewayClient(TcpEndpoint(listener.getsockname()[1]), prompt_s=0.1)
        for ask_it in (client.version, client.ps, lambda: list(client.logs(follow=True))):
            with pytest.raises(NotRunning, match="does not answer"):
                ask_it()


def test_a_program_that_stops_in_its_answer_is_not_waited_for():
    def stop_in_the_answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        connection.recv(1)  # until the client leaves

    def error() -> MrpackError:
        with pytest.raises(MrpackError) as caught:
            client.ps()
        return caught.value

    with RawServer(stop_in_the_answer) as server:
        client = GatewayClient(TcpEndpoint(int(server.address.rpartition(":")[2])), prompt_s=0.3)
        # On a busy machine the answer itself may begin too late.
        wait_until(lambda: isinstance(error(), EngineFailed))


@pytest.mark.parametrize(
    ("status", "code", "family"),
    [
        (502, "integrity_error", IntegrityError),
        (502, "registry_unavailable", RegistryUnavailable),
        (502, "engine_failed", EngineFailed),
        (422, "invalid_artifact", InvalidArtifact),
        (422, "of an engine's own", UsageError),
        (507, "insufficient_memory", HostRefused),
        (503, "overloaded", EngineFailed),
    ],
)
def test_the_code_of_an_error_decides_where_a_status_stands_for_several(status, code, family):
    """A damaged model is no failure of its engine: the exit codes differ."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps({"error": {"message": "no", "code": code}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(family) as caught:
            GatewayClient(TcpEndpoint(server.server_port)).model("a")
        thread.join()
    assert caught.type is family


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"a": 1}\n\n'
CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
CUT = {
    "before the first chunk": CHUNKED,
    "behind a chunk": CHUNKED + CHUNK,
    "before the line end of a chunk": CHUNKED + CHUNK[:-2],
    "in a chunk": CHUNKED + CHUNK + CHUNK[:-9],
    "in a size": CHUNKED + CHUNK + b"1",
    "of a length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + EVENT,
}


def say(content: bytes) -> Script:
    """And nothing more; the client is heard to its end, so that it loses nothing."""

    def script(connection: socket.socket) -> None:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    return script


def asked(server: RawServer) -> dict[str, Callable[[], Any]]:
    host, port = server.address.split(":")
    client = GatewayClient(TcpEndpoint(int(port), host))
    return {
        "paint": lambda: list(client.paint({})),
        "chat": lambda: list(client.chat({})),
        "logs": lambda: list(client.logs()),
        "ps": client.ps,
    }


@pytest.mark.parametrize("method", ["paint", "chat", "logs", "ps"])
@pytest.mark.parametrize("content", CUT.values(), ids=CUT.keys())
def test_a_cut_answer_is_not_taken_for_a_whole_one(content, method):
    with RawServer(say(content)) as server, pytest.raises(EngineFailed, match="broke the connection"):
        asked(server)[method]()


def test_a_whole_answer_is_taken_however_its_lines_are_torn():
    events = b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT) + CHUNK * 2
    with RawServer(say(CHUNKED + events + b"0\r\n\r\n")) as server:
        ask_it = asked(server)
        assert ask_it["paint"]() == [{"a": 1}] * 3
        assert "".join(ask_it["logs"]()) == EVENT.decode() * 3
        with pytest.raises(EngineFailed, match="ended too early"):
            ask_it["chat"]()
