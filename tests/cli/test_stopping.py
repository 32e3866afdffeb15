"""`mrpack serve` ends when it is told to, whatever is under way, and leaves no process behind."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cli.test_serve_commands import Served, serving
from tests.fakes.gateway import CHAT, chat_body, request_bytes
from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_faults import cut, on_blobs
from tests.processes import is_alive
from tests.program import Mrpack
from tests.waiting import DEADLINE_S, until

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        registry.add("slow", "v1", b"{}", b"GGUF" * 10_000)
        registry.fault("slow", on_blobs(cut(1000, "stall")))
        yield registry


def posted(path: str, body: dict[str, Any]) -> bytes:
    return request_bytes("POST", path, json.dumps(body).encode(), JSON)


def streamed(**fake: Any) -> bytes:
    return posted(CHAT, chat_body("tiny", stream=True, fake=fake))


SENT: dict[str, Callable[[FakeRegistry], bytes]] = {
    "nothing": lambda _: b"",
    "half a header": lambda _: b"GET /health HT",
    "half a body": lambda _: posted(CHAT, chat_body("tiny"))[:-5],
    "a log that goes on": lambda _: request_bytes("GET", "/logs?follow=true"),
    "a model that loads": lambda _: posted(CHAT, chat_body("tiny")),
    "a pull": lambda registry: posted("/models/create", {"from": f"{registry.address}/slow:v1"}),
    "a pull for a chat": lambda registry: posted(CHAT, chat_body(f"{registry.address}/slow:v1")),
    "a stream that nobody takes": lambda _: streamed(chunks=10_000_000),
}
LOADING = {"a model that loads": "--mode hang"}
# Up to 30 s, unless told twice: somebody may still want it.
WAITED_FOR = {"a stream that nobody takes", "a model that loads"}


@pytest.mark.parametrize("phase", SENT)
def test_a_gateway_ends_in_any_phase_of_a_request(
    program: Mrpack, llama: FakeLlamaServer, registry: FakeRegistry, phase: str
) -> None:
    llama.set_options(LOADING.get(phase, ""))
    with serving(program, "--pull", "missing") as served, contextlib.ExitStack() as open_clients:
        client = socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])))
        open_clients.enter_context(client)
        client.sendall(SENT[phase](registry))
        until(lambda: is_under_way(served, registry, phase))
        pids = served.engine_pids
        assert pids or phase not in WAITED_FOR
        served.process.terminate()
        if phase in WAITED_FOR:
            until(lambda: not is_listening(served))
            served.process.terminate()
        _, errors = served.process.communicate(timeout=DEADLINE_S)
        assert served.process.returncode == 0
        assert "Traceback" not in errors
        assert not [pid for pid in pids if is_alive(pid)]


def is_listening(served: Served) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(served.url.rpartition(":")[2]))) == 0


def is_under_way(served: Served, registry: FakeRegistry, phase: str) -> bool:
    """Whether what was sent has come as far as it can."""
    if "pull" in phase:
        return any(request.kind == "blobs" for request in registry.requests)
    if phase in WAITED_FOR:
        return any(entry["in_use"] or entry["loading"] for entry in served("ps", "--json").json)
    return True
