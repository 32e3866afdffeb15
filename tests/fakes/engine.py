"""An inference engine without a model: the standard library alone, with faults on demand.

    python tests/fakes/engine.py --socket /run/x.sock --mode ok

Answers like llama-server: `/health` (503 while loading), chat, completions, embeddings, rerank, images,
models, with streams and usage. The text is `Hello from a fake engine.`; a prompt that starts with `echo `
is answered by the rest of it. A request may carry `"fake": {"chunks": 100, "delay": 0.01}` for a longer or
slower stream, `"wait": true` for one that goes on after its first event when there is a file `go` in this
program's folder, `"tools": [{"name": "f", "arguments": "{}"}]` for calls of functions, `"thoughts": "hm"` for
what it thinks before. For tests: `/fake/state` tells pid, children and open streams, `/fake/streams` the
streams alone, `/fake/requests` the bodies received, `/fake/environment` what it was started with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import cycle, islice
from typing import Any

MODES = {
    "ok": "healthy at once",
    "slow": "loads for --load-time seconds",
    "hang": "/health stays 503",
    "wait": "loads until there is a file `go` in its folder",
    "mute": "accepts connections and never answers",
    "crash": "writes its reason to stderr and exits with 3 before it listens",
    "crash-loop": "gets ready and exits with 4 at the first inference request",
    "oom": "killed by the kernel while loading",
    "oom-on-request": "killed by the kernel at the first inference request",
    "garbage": "answers inference requests with bytes that are not HTTP",
    "bad-json": "answers inference requests with status 200 and broken JSON",
    "server-error": "answers inference requests with status 500",
    "ignore-term": "goes on after SIGTERM",
    "die-mid-stream": "exits with 5 after the second chunk of a stream",
    "cut-stream": "closes a stream after the second chunk, without [DONE]",
    "stall": "stops in a stream after the second chunk and keeps the connection",
    "grandchild": "has two children that ignore SIGTERM, one of them in a session of its own",
    "chatty": "writes 2 MB to stdout and stderr before it is ready",
}
TEXT = "Hello from a fake engine."
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
METRICS = (
    b"# HELP llamacpp:requests_total Requests.\n# TYPE llamacpp:requests_total counter\n"
    b'llamacpp:requests_total{slot="0"} %d\n'
)
GRANDCHILD = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True)\n"
    "time.sleep(600)\n"
)


@dataclass
class State:
    options: argparse.Namespace
    ready_at: float
    open_streams: int = 0
    streams: int = 0
    children: list[int] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def is_ready(self) -> bool:
        match self.options.mode:
            case "hang":
                return False
            case "wait":
                return may_go()
        return time.monotonic() >= self.ready_at

    def to_json(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "children": self.children,
            "open": self.open_streams,
            "streams": self.streams,
            "requests": len(self.requests),
        }


def may_go() -> bool:
    return os.path.exists("go")  # pathlib takes long to import


def words(body: dict[str, Any]) -> Iterator[str]:
    prompt = body.get("prompt") or ""
    for message in body.get("messages") or ():
        content = message.get("content")
        prompt = content if isinstance(content, str) else "".join(p.get("text", "") for p in content or ())
    text = prompt[5:] if isinstance(prompt, str) and prompt.startswith("echo ") else TEXT
    parts = [part + " " for part in text.split(" ")]
    parts[-1] = parts[-1].rstrip(" ")
    return islice(cycle(parts), body.get("fake", {}).get("chunks", len(parts)))


def usage(body: dict[str, Any]) -> dict[str, int]:
    count = sum(1 for _ in words(body))
    return {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": 3 + count}


def envelope(kind: str, state: State, **rest: Any) -> dict[str, Any]:
    return {"id": "fake-1", "object": kind, "created": 0, "model": state.options.alias, **rest}


def answer(path: str, body: dict[str, Any], state: State) -> dict[str, Any]:
    text = "".join(words(body))
    match path:
        case "/v1/chat/completions":
            message = {"role": "assistant", "content": text, **calls_and_thoughts(body)}
            reason = "tool_calls" if "tool_calls" in message else "stop"
            choice = {"index": 0, "message": message, "finish_reason": reason, **odds(body, *words(body))}
            return envelope("chat.completion", state, choices=[choice], usage=usage(body))
        case "/v1/completions":
            choice = {"index": 0, "text": text, "finish_reason": "stop", **odds(body, *words(body))}
            return envelope("text_completion", state, choices=[choice], usage=usage(body))
        case "/v1/embeddings":
            given = body.get("input", "")
            texts = given if isinstance(given, list) else [given]
            rows = [
                {"object": "embedding", "index": i, "embedding": [float(len(str(text))), 1.0, 0.0]}
                for i, text in enumerate(texts)
            ]
            return {"object": "list", "data": rows, "model": state.options.alias, "usage": usage(body)}
        case "/v1/rerank":
            rows = [{"index": i, "relevance_score": 1.0 / (i + 1)} for i, _ in enumerate(body["documents"])]
            return {"object": "list", "results": rows, "model": state.options.alias, "usage": usage(body)}
        case "/v1/images/generations":
            return {"created": 0, "data": [{"b64_json": PIXEL} for _ in range(int(body.get("n") or 1))]}
        case "/apply-template":
            return {"prompt": "".join(f"<{m['role']}>{m.get('content')}" for m in body["messages"])}
        case "/tokenize":  # a token a letter
            tokens: list[Any] = [ord(letter) for letter in body["content"]]
            if body.get("with_pieces"):
                tokens = [{"id": token, "piece": chr(token)} for token in tokens]
            return {"tokens": tokens}
        case "/detokenize":
            return {"content": "".join(chr(token % 0xD800) for token in body["tokens"])}
    return {}


def odds(body: dict[str, Any], *tokens: str) -> dict[str, Any]:
    """How likely each was, in the shape of chats, also for completions: none without alternatives."""
    asked = body.get("logprobs")
    count = int((body.get("top_logprobs", 20) if asked is True else asked) or 0)
    if not count:
        return {"logprobs": None}
    rows = [{"token": token, "bytes": list(token.encode()), "logprob": -0.5} for token in tokens]
    return {"logprobs": {"content": [{**row, "top_logprobs": [row] * count} for row in rows]}}


def calls_and_thoughts(body: dict[str, Any]) -> dict[str, Any]:
    fake = body.get("fake", {})
    found: dict[str, Any] = {}
    if "thoughts" in fake:
        found["reasoning_content"] = fake["thoughts"]
    if "tools" in fake:
        found["tool_calls"] = [
            {"index": i, "id": f"call_{i}", "type": "function", "function": function}
            for i, function in enumerate(fake["tools"])
        ]
    return found


def chunks(path: str, body: dict[str, Any], state: State) -> Iterator[dict[str, Any]]:
    """One by one: there may be more than memory holds."""
    chat = path == "/v1/chat/completions"
    kind = "chat.completion.chunk" if chat else "text_completion"

    def event(part: dict[str, Any], reason: str | None = None, **rest: Any) -> dict[str, Any]:
        choice = {"index": 0, **part, "finish_reason": reason}
        return envelope(kind, state, choices=[choice], **rest)

    def said(text: str) -> dict[str, Any]:
        return ({"delta": {"content": text}} if chat else {"text": text}) | odds(body, text)

    first = {"delta": {"role": "assistant", "content": None}}
    if body.get("return_progress"):
        for processed in (3, 0):
            yield event(first, prompt_progress={"total": 3, "cache": 0, "processed": processed, "time_ms": 0})
    found = calls_and_thoughts(body) if chat else {}
    if chat:
        yield event(first)
    if "reasoning_content" in found:
        yield event({"delta": {"reasoning_content": found["reasoning_content"]}})
    for word in words(body):
        yield event(said(word))
    for call in found.get("tool_calls", ()):
        yield event({"delta": {"tool_calls": [call]}})
    yield event({"delta": {}} if chat else said(""), "tool_calls" if "tool_calls" in found else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield envelope(kind, state, choices=[], usage=usage(body))


def reply(writer: asyncio.StreamWriter, status: int, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nServer: fake\r\nAccess-Control-Allow-Origin: *\r\n\r\n"
    )
    writer.write(head.encode() + content)


async def stream(
    path: str, body: dict[str, Any], state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    def send(content: bytes) -> None:
        writer.write(b"%x\r\n%s\r\n" % (len(content), content))

    mode, fake = state.options.mode, body.get("fake", {})
    delay, waits = fake.get("delay", state.options.delay), fake.get("wait", False)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    state.open_streams += 1
    state.streams += 1
    gone = asyncio.create_task(
        reader.read(1)
    )  # nothing is pipelined after a stream: this is the client leaving
    try:
        for count, event in enumerate(chunks(path, body, state)):
            if gone.done():
                raise ConnectionResetError
            if count == 2 and mode == "die-mid-stream":
                print("fake: E lost the device in mid-stream", file=sys.stderr, flush=True)
                os._exit(5)
            if count == 2 and mode == "cut-stream":
                raise ConnectionResetError
            if count == 2 and mode == "stall":
                await gone
            send(b"data: " + json.dumps(event).encode() + b"\n\n")
            await writer.drain()
            if delay:
                await asyncio.wait({gone}, timeout=delay)
            while waits and not (gone.done() or may_go()):
                await asyncio.wait({gone}, timeout=0.01)
        send(b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        state.open_streams -= 1


def at_inference(mode: str) -> bytes | None:
    """Plays the fault of a mode; bytes to send as they are, or None to go on."""
    if mode == "crash-loop":
        print("fake: E GGML_ASSERT failed", file=sys.stderr, flush=True)
        os._exit(4)
    if mode == "oom-on-request":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "garbage":
        return b"\x00\x01 this is not HTTP \xff\r\n\r\n"
    return None


async def one_request(state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection stays open."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:]) if k}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    path, mode = target.partition("?")[0], state.options.mode
    if mode == "mute":
        await reader.read()
        return False
    if method == "GET":
        ready = state.is_ready()
        got: dict[str, Any] = {
            "/health": {"status": "ok"} if ready else {"error": {"message": "Loading model", "code": 503}},
            "/v1/models": {"object": "list", "data": [{"id": state.options.alias, "object": "model"}]},
            "/fake/streams": {"open": state.open_streams, "total": state.streams},
            "/fake/state": state.to_json(),
            "/fake/requests": state.requests,
            "/fake/environment": dict(os.environ),
        }
        if path == "/metrics":
            reply(writer, 200, METRICS % len(state.requests))
            return True
        status = 503 if path == "/health" and not ready else 200
        reply(writer, status if path in got else 404, got.get(path, {"error": {"message": "not found"}}))
        return True
    is_form = headers.get("content-type", "").startswith("multipart/")
    body = {"form": raw.decode("latin-1")} if is_form else json.loads(raw or b"{}")
    state.requests.append({"path": path, "headers": headers, "body": body})
    if (garbage := at_inference(mode)) is not None:
        writer.write(garbage)
        return False
    if mode == "server-error":
        reply(writer, 500, {"error": {"message": "fake failure", "type": "server_error", "code": 500}})
    elif mode == "bad-json":
        reply(writer, 200, b'{"choices": [')
    elif body.get("stream"):
        await stream(path, body, state, reader, writer)
        return False
    else:
        if delay := body.get("fake", {}).get("delay", state.options.delay):
            await asyncio.sleep(delay)
        found = answer(path, body, state)
        reply(writer, 200 if found else 404, found or {"error": {"message": "not found"}})
    return True


async def serve(state: State) -> None:
    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await one_request(state, reader, writer):
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    options = state.options
    for own_session in (False, True) if options.mode == "grandchild" else ():
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", GRANDCHILD), stdout=subprocess.PIPE, start_new_session=own_session
        )
        assert child.stdout is not None
        await child.stdout.readline()
        state.children.append(child.pid)
    if options.socket:
        server = await asyncio.start_unix_server(connection, options.socket)
    else:
        server = await asyncio.start_server(connection, "127.0.0.1", options.port)
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if options.mode == "ignore-term" else end.set)
    print("fake: listening", file=sys.stderr, flush=True)
    await end.wait()
    server.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket")
    where.add_argument("--port", type=int)
    parser.add_argument("--mode", choices=sorted(MODES), default="ok")
    parser.add_argument("--load-time", type=float, default=0.3, help="seconds, for --mode slow")
    parser.add_argument(
        "--delay", type=float, default=0.0, help="seconds between chunks, or before an answer"
    )
    parser.add_argument("--alias", default="fake-model")
    options = parser.parse_args()
    if options.mode == "crash":
        print(
            "fake: I loading model\nfake: E failed to load model: tensor data is cut",
            file=sys.stderr,
            flush=True,
        )
        return 3
    if options.mode == "oom":
        os.kill(os.getpid(), signal.SIGKILL)
    if options.mode == "chatty":
        for stream_ in (sys.stdout, sys.stderr):
            for number in range(10_000):
                print(f"fake: line {number} " + "x" * 80, file=stream_)
            stream_.flush()
    load_time = options.load_time if options.mode == "slow" else 0.0
    asyncio.run(serve(State(options, ready_at=time.monotonic() + load_time)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
