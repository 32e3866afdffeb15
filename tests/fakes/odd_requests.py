"""Requests that are wrong or odd, one row each, with what a gateway has to answer, whatever its engine is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.engine import PIXEL
from tests.fakes.gateway import CHAT, DEADLINE_S, Answer, Client, read_chunks, read_head

MODEL = "MODEL"
"""Stands in a row for the model that is asked."""
JSON = {"Content-Type": "application/json"}
QUESTION = [{"role": "user", "content": "Who are you?"}]
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
OLLAMA_CHAT, GENERATE = "/api/chat", "/api/generate"
# What each route needs at least.
NEEDED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": QUESTION, "max_tokens": 4},
    "/v1/completions": {"prompt": "Once", "max_tokens": 4},
    "/v1/embeddings": {"input": "one"},
    MESSAGES: {"messages": QUESTION, "max_tokens": 4},
    f"{MESSAGES}/count_tokens": {"messages": QUESTION},
    RESPONSES: {"input": "Who are you?", "max_output_tokens": 4},
    OLLAMA_CHAT: {"messages": QUESTION, "stream": False, "options": {"num_predict": 4}},
    GENERATE: {"prompt": "Who are you?", "stream": False, "options": {"num_predict": 4}},
    "/api/embed": {"input": "one"},
    "/v1/rerank": {"query": "one", "documents": ["two"]},
    "/v1/score": {"text_1": "one", "text_2": ["two"]},
    "/v1/tokenize": {"prompt": "one"},
    "/v1/detokenize": {"tokens": [1]},
}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@dataclass(frozen=True, kw_only=True)
class Odd:
    """`code`: OpenAI's, Anthropic's type, or for Ollama, which has none, a word of its text.

    `needs_text`: told once the model is known to be one that chats; else before any model is looked at.
    """

    name: str
    raw: bytes
    status: int
    code: str
    param: str | None
    needs_text: bool
    path: str

    def to(self, model: str) -> bytes:
        """With the length of what is sent then."""
        head, _, body = self.raw.replace(MODEL.encode(), model.encode()).partition(b"\r\n\r\n")
        return head.replace(b"LENGTH", str(len(body)).encode()) + b"\r\n\r\n" + body


def raw(method: str, path: str, body: bytes | None = None, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if body is not None and not any(line.startswith(("Content-Length", "Transfer-")) for line in headers):
        lines.append("Content-Length: LENGTH")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def sent(
    name: str,
    content: bytes,
    status: int,
    code: str = "",
    param: str | None = None,
    *,
    path: str = CHAT,
    needs_text: bool = False,
) -> Odd:
    return Odd(
        name=name, raw=content, status=status, code=code, param=param, needs_text=needs_text, path=path
    )


def posted(
    name: str,
    body: Any,
    status: int,
    code: str = "",
    param: str | None = None,
    *,
    path: str = CHAT,
    headers: tuple[str, ...] = ("Content-Type: application/json",),
    needs_text: bool = False,
) -> Odd:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return sent(
        name, raw("POST", path, content, *headers), status, code, param, path=path, needs_text=needs_text
    )


def field(path: str, name: str, value: Any, status: int = 400, param: str | None = None) -> Odd:
    """A request that is right but for one field; `...` leaves it out."""
    body = {"model": MODEL, **NEEDED[path], name: value}
    if value is ...:
        del body[name]
    code = {400: "invalid_request", 501: "unsupported", 200: ""}[status]
    if family(path) == "anthropic":
        code = {400: "invalid_request_error", 501: "api_error", 200: ""}[status]
    if family(path) == "ollama":
        code = name if status == 400 else ""
    shown = "left out" if value is ... else json.dumps(value)[:40]
    return posted(
        f"{path} {name} {shown}",
        body,
        status,
        code,
        (param or name) if status == 400 else None,
        path=path,
        needs_text=True,
    )


def option(name: str, value: Any, param: str) -> Odd:
    """Of Ollama."""
    body = {"model": MODEL, **NEEDED[OLLAMA_CHAT], "options": {name: value}}
    title = f"{OLLAMA_CHAT} options.{name} {json.dumps(value)[:40]}"
    return posted(title, body, 400, param, path=OLLAMA_CHAT, needs_text=True)


def family(path: str) -> str:
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if "/messages" in path or path.startswith("/anthropic/") else "openai"


def wrong_messages(*messages: Any) -> list[Any]:
    return [*QUESTION, *messages]


FRAMING = (
    sent("GET of a chat", raw("GET", CHAT), 405, "method_not_allowed"),
    sent(
        "PUT of a chat", raw("PUT", CHAT, b"{}", "Content-Type: application/json"), 405, "method_not_allowed"
    ),
    sent("PATCH of a model", raw("PATCH", "/v1/models/x", b"{}"), 405, "method_not_allowed"),
    sent("DELETE of all models", raw("DELETE", "/v1/models"), 405, "method_not_allowed"),
    sent("a method nobody knows", raw("BREW", CHAT), 400, "invalid_request"),
    sent("HEAD of a chat", raw("HEAD", CHAT), 405),
    sent("HEAD of the models", raw("HEAD", "/v1/models"), 200),
    sent("OPTIONS", raw("OPTIONS", CHAT), 204),
    sent("OPTIONS of nothing", raw("OPTIONS", "/nope"), 404, "unknown_url"),
    sent("GET of a message", raw("GET", MESSAGES), 405, "invalid_request_error", path=MESSAGES),
    sent("GET of Ollama's chat", raw("GET", OLLAMA_CHAT), 405, "GET", path=OLLAMA_CHAT),
    posted("a slash at the end", b"{}", 404, "unknown_url", path=f"{CHAT}/"),
    posted("two slashes at the start", b"{}", 404, "unknown_url", path=f"/{CHAT}"),
    posted("other letters", b"{}", 404, "unknown_url", path="/v1/Chat/Completions"),
    posted("a path of another API", b"{}", 404, "unknown_url", path="/v1/moderations"),
    posted("below Ollama's", b"{}", 404, "nothing at", path="/api/nope"),
    posted("below Anthropic's", b"{}", 404, "not_found_error", path="/anthropic/v1/nope"),
    posted("an engine nobody has", {"model": MODEL}, 404, "unknown_url", path="/engines/nope/v1/embeddings"),
    sent("no model after the slash", raw("GET", "/v1/models/"), 404, "unknown_url"),
    sent("an escaped slash", raw("GET", "/v1/models/team%2Fnope"), 404, "model_not_found", "model"),
    sent("an escape that is none", raw("GET", "/v1/models/nope%zz"), 400, "invalid_request", "model"),
    sent(
        "escapes that climb", raw("GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc"), 400, "invalid_request", "model"
    ),
    posted("no body", b"", 400, "invalid_json"),
    posted("half an object", b"{", 400, "invalid_json"),
    posted("a list", b"[]", 400, "invalid_json"),
    posted("null", b"null", 400, "invalid_json"),
    posted("two objects", b"{}{}", 400, "invalid_json"),
    posted("bytes that are no UTF-8", b'{"model": "\xff"}', 400, "invalid_json"),
    posted("UTF-16", '{"model": "x"}'.encode("utf-16"), 400, "invalid_json"),
    posted("a byte order mark", b'\xef\xbb\xbf{"model": ""}', 400, "invalid_json"),
    posted("not a number", b'{"model": "x", "temperature": NaN}', 400, "invalid_json"),
    posted("single quotes", b"{'model': 'x'}", 400, "invalid_json"),
    posted("100,000 lists in lists", b'{"model": ' + b"[" * 100_000, 400, "invalid_json"),
    posted("100,000 objects in objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400, "invalid_json"),
    posted("a number of 10,000 digits", b'{"model": %s}' % (b"7" * 10_000), 400, "invalid_json"),
    posted("a key twice: the last counts", b'{"model": "x", "model": ""}', 400, "invalid_request", "model"),
    posted("half an object for Claude", b"{", 400, "invalid_request_error", path=MESSAGES),
    posted("half an object for Ollama", b"{", 400, "JSON", path=OLLAMA_CHAT),
    posted("plain text", b"{}", 415, "unsupported_media_type", headers=("Content-Type: text/plain",)),
    posted("no content type", b"{}", 415, "unsupported_media_type", headers=()),
    posted(
        "a form",
        b"a=b",
        415,
        "unsupported_media_type",
        headers=("Content-Type: application/x-www-form-urlencoded",),
    ),
    posted(
        "compressed",
        b"{}",
        415,
        "unsupported_media_type",
        headers=("Content-Type: application/json", "Content-Encoding: gzip"),
    ),
    posted(
        "a charset",
        b"{}",
        400,
        "invalid_request",
        "model",
        headers=("Content-Type: application/json; charset=utf-8",),
    ),
    posted("plain text for Claude", b"{}", 415, "invalid_request_error", path=MESSAGES, headers=()),
    posted(
        "a body of 100 GB",
        b"",
        413,
        "request_too_large",
        headers=("Content-Type: application/json", "Content-Length: 100000000000"),
    ),
    posted(
        "a body of 100 GB for Claude",
        b"",
        413,
        "request_too_large",
        path=MESSAGES,
        headers=("Content-Type: application/json", "Content-Length: 100000000000"),
    ),
    posted(
        "in chunks",
        b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        400,
        "invalid_request",
        "model",
        headers=("Content-Type: application/json", "Transfer-Encoding: chunked"),
    ),
    posted(
        "chunks of no size",
        b"zz\r\n{}\r\n0\r\n\r\n",
        400,
        "invalid_request",
        headers=("Content-Type: application/json", "Transfer-Encoding: chunked"),
    ),
    posted(
        "an unknown coding",
        b"{}",
        400,
        "invalid_request",
        headers=("Content-Type: application/json", "Transfer-Encoding: rot13"),
    ),
    sent(
        "HTTP/1.0",
        raw("POST", CHAT, b"{}", "Content-Type: application/json", version="1.0"),
        400,
        "invalid_request",
        "model",
    ),
    sent("no Host", raw("GET", "/v1/models").replace(b"Host: localhost\r\n", b""), 400, "invalid_request"),
    sent("two Hosts", raw("GET", "/v1/models", None, "Host: localhost"), 400, "invalid_request"),
    sent("a foreign Host", raw("GET", "/v1/models").replace(b"localhost", b"evil.example"), 403, "forbidden"),
    sent(
        "a foreign Host for Ollama",
        raw("GET", "/api/tags").replace(b"localhost", b"evil.example"),
        403,
        "Host",
        path="/api/tags",
    ),
    sent("a web page", raw("GET", "/v1/models", None, "Origin: https://evil.example"), 403, "forbidden"),
    sent("a length below nothing", raw("POST", CHAT, b"", "Content-Length: -1"), 400, "invalid_request"),
    sent(
        "two lengths",
        raw("POST", CHAT, b"{}", "Content-Length: 2", "Content-Length: 3"),
        400,
        "invalid_request",
    ),
    sent(
        "a length and chunks",
        raw("POST", CHAT, b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        400,
        "invalid_request",
    ),
    sent("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
    sent(
        "a header of 100,000 letters",
        raw("GET", "/v1/models", None, "X: " + "x" * 100_000),
        400,
        "invalid_request",
    ),
    sent(
        "a broken line in a header", raw("GET", "/v1/models", None, "X: a\r\n b\x00"), 400, "invalid_request"
    ),
)
MODELS = (
    posted("no model", {}, 400, "invalid_request", "model"),
    posted("an empty model", {"model": " "}, 400, "invalid_request", "model"),
    posted("a model that is null", {"model": None}, 400, "invalid_request", "model"),
    posted("a model that is a number", {"model": 7}, 400, "invalid_request", "model"),
    posted("a model that is a list", {"model": ["x"]}, 400, "invalid_request", "model"),
    posted("a model up the tree", {"model": "../../etc/passwd"}, 400, "invalid_request", "model"),
    posted("a model with a NUL", {"model": "a\0b"}, 400, "invalid_request", "model"),
    posted("a model of 10,000 letters", {"model": "x" * 10_000}, 400, "invalid_request", "model"),
    posted("an unknown model", {"model": "nope", **NEEDED[CHAT]}, 404, "model_not_found", "model"),
    posted("an unknown model before its fields", {"model": "nope"}, 404, "model_not_found", "model"),
    posted("no model for Claude", NEEDED[MESSAGES], 400, "invalid_request_error", path=MESSAGES),
    posted("no model for Ollama", NEEDED[GENERATE], 400, "model", path=GENERATE),
    *(
        posted(f"an unknown model at {path}", {"model": "nope", **NEEDED[path]}, 404, code, param, path=path)
        for path, code, param in (
            ("/v1/embeddings", "model_not_found", "model"),
            (RESPONSES, "model_not_found", "model"),
            ("/v1/rerank", "model_not_found", "model"),
            ("/v1/tokenize", "model_not_found", "model"),
            (MESSAGES, "not_found_error", None),
            (f"{MESSAGES}/count_tokens", "not_found_error", None),
            (OLLAMA_CHAT, "nope", None),
            (GENERATE, "nope", None),
            ("/api/embed", "nope", None),
        )
    ),
    posted(
        "a pickled tensor", {"model": MODEL, "prompt_embeds": "x"}, 400, "invalid_request", "prompt_embeds"
    ),
    posted(
        "a template of the client",
        {"model": MODEL, "chat_template": "x"},
        400,
        "invalid_request",
        "chat_template",
    ),
    posted(
        "a picture from elsewhere",
        {
            "model": MODEL,
            "messages": wrong_messages({"role": "user", "content": [{"image_url": "http://x/y"}]}),
        },
        400,
        "invalid_request",
        "messages[1].content[0].image_url",
    ),
)
FIELDS = (
    field(CHAT, "messages", ...),
    field(CHAT, "messages", None),
    field(CHAT, "messages", []),
    field(CHAT, "messages", "hi"),
    field(CHAT, "messages", [7], param="messages[0]"),
    field(CHAT, "messages", [{}], param="messages[0].role"),
    field(CHAT, "messages", [{"role": "user", "content": 7}], param="messages[0].content"),
    field(
        CHAT,
        "messages",
        [{"role": "user", "content": [{"type": "text"}]}],
        param="messages[0].content[0].text",
    ),
    field(CHAT, "n", 0),
    field(CHAT, "n", 100_000),
    field(CHAT, "n", "2"),
    field(CHAT, "temperature", 99),
    field(CHAT, "temperature", -1),
    field(CHAT, "temperature", "hot"),
    field(CHAT, "temperature", True),
    field(CHAT, "top_p", 2),
    field(CHAT, "max_tokens", -5),
    field(CHAT, "max_tokens", 1.5),
    field(CHAT, "max_tokens", "9"),
    field(CHAT, "max_tokens", 2**40),
    field(CHAT, "max_completion_tokens", -5),
    field(CHAT, "stop", 7),
    field(CHAT, "stop", ""),
    field(CHAT, "stop", ["x"] * 100),
    field(CHAT, "stop", [7], param="stop[0]"),
    field(CHAT, "logit_bias", 7),
    field(CHAT, "response_format", "json"),
    field(CHAT, "response_format", {"type": "yaml"}, param="response_format.type"),
    field(CHAT, "response_format", {"type": "json_schema"}, param="response_format.json_schema"),
    field(CHAT, "seed", 2**70),
    field(CHAT, "seed", "x"),
    field(CHAT, "stream", "yes"),
    field(CHAT, "stream", 1),
    field(CHAT, "stream_options", 7),
    field(CHAT, "tools", "x"),
    field(CHAT, "tools", [{"type": "function"}], param="tools[0].function"),
    field(CHAT, "tool_choice", "sometimes"),
    field(CHAT, "tool_choice", 7),
    field(CHAT, "logprobs", "x"),
    field(CHAT, "top_logprobs", 500),
    field(CHAT, "frequency_penalty", 9),
    field(CHAT, "presence_penalty", "x"),
    field("/v1/completions", "prompt", ...),
    field("/v1/completions", "prompt", 7),
    field("/v1/completions", "prompt", []),
    field("/v1/completions", "echo", "x"),
    field("/v1/embeddings", "input", ...),
    field("/v1/embeddings", "input", []),
    field("/v1/embeddings", "input", 7),
    field("/v1/embeddings", "encoding_format", "hex"),
    field("/v1/embeddings", "dimensions", -1),
    field(MESSAGES, "max_tokens", ...),
    field(MESSAGES, "max_tokens", 0),
    field(MESSAGES, "messages", []),
    field(MESSAGES, "messages", [{"role": "alien", "content": "x"}]),
    field(MESSAGES, "messages", [{"role": "user", "content": [{"type": "web_page"}]}], 501),
    field(MESSAGES, "temperature", 99),
    field(MESSAGES, "stop_sequences", 7),
    field(MESSAGES, "tools", [{"type": "web_search_20250305", "name": "web_search"}], 501),
    field(MESSAGES, "tool_choice", {"type": "sometimes"}),
    field(f"{MESSAGES}/count_tokens", "messages", 7),
    field(RESPONSES, "input", ...),
    field(RESPONSES, "input", 7),
    field(RESPONSES, "max_output_tokens", -5, param="max_output_tokens"),
    field(RESPONSES, "temperature", "hot"),
    field(RESPONSES, "tools", [{"type": "web_search"}], 501),
    field(RESPONSES, "background", True, 501),
    field(OLLAMA_CHAT, "messages", 7),
    field(OLLAMA_CHAT, "messages", [{"role": "user", "content": {}}]),
    field(OLLAMA_CHAT, "think", "perhaps"),
    field(OLLAMA_CHAT, "keep_alive", "soon"),
    field(OLLAMA_CHAT, "format", 7),
    field(OLLAMA_CHAT, "options", 7),
    field(GENERATE, "suffix", "x", 501),
    field(GENERATE, "images", ["?"]),
    field(GENERATE, "raw", "x"),
    field("/api/embed", "input", 7),
    option("temperature", 99, "temperature"),
    option("num_predict", "x", "max_tokens"),
    option("seed", 2**70, "seed"),
    field("/v1/rerank", "documents", []),
    field("/v1/rerank", "query", 7),
    field("/v1/rerank", "top_n", 0),
    field("/v1/score", "text_1", 7),
    field("/v1/tokenize", "prompt", ...),
    field("/v1/tokenize", "prompt", 7),
    field("/v1/detokenize", "tokens", [-1], param="tokens[0]"),
    field("/v1/detokenize", "tokens", [2**40], param="tokens[0]"),
)
# Odd, and fine.
FINE = (
    posted(
        "nulls",
        {"model": MODEL, **NEEDED[CHAT], "seed": None, "stop": None, "tools": None, "response_format": None},
        200,
        needs_text=True,
    ),
    sent(
        "HTTP/1.0 with an answer",
        raw(
            "POST",
            CHAT,
            json.dumps({"model": MODEL, **NEEDED[CHAT]}).encode(),
            "Content-Type: application/json",
            version="1.0",
        ),
        200,
        needs_text=True,
    ),
    sent(
        "HTTP/1.0 with a stream",
        raw(
            "POST",
            CHAT,
            json.dumps({"model": MODEL, "stream": True, **NEEDED[CHAT]}).encode(),
            "Content-Type: application/json",
            version="1.0",
        ),
        200,
        needs_text=True,
    ),
    posted(
        "a NUL",
        {"model": MODEL, "messages": [{"role": "user", "content": "a\0b"}], "max_tokens": 4},
        200,
        needs_text=True,
    ),
    posted(
        "fields of nobody",
        {"model": MODEL, **NEEDED[CHAT], "x-tra": {"a": [None]}},
        200,
        needs_text=True,
    ),
)
ODD = (*FRAMING, *MODELS, *FIELDS, *FINE)


async def ask(client: Client, content: bytes) -> Answer:
    """The answer to these very bytes; `100 Continue` is passed over."""
    reader, writer = await client.connect()
    try:
        writer.write(content)
        async with asyncio.timeout(DEADLINE_S * 4):
            status, headers = await read_head(reader)
            while status == 100:
                status, headers = await read_head(reader)
            if content.startswith(b"HEAD") or status == 204:
                body = b""
            elif headers.get("transfer-encoding") == "chunked":
                body = b"".join([piece async for piece in read_chunks(reader)])
            elif "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            else:
                body = await reader.read()
            return Answer(status, headers, body)
    finally:
        writer.close()


def faults(odd: Odd, answer: Answer, status: int | None = None) -> Iterator[str]:
    """What is wrong with an answer; `status` where the model is of another kind than the row is for."""
    case = f"{odd.name}: {answer.status} {answer.body[:300]!r}"
    if answer.status != (status or odd.status):
        yield f"not {status or odd.status}: {case}"
        return
    if b"Traceback" in answer.body:
        yield case
    if answer.status < 400 or not answer.body:
        return
    if answer.headers.get("content-type") != "application/json":
        yield f"not JSON: {case}"
        return
    body = answer.json
    match family(odd.path):
        case "ollama":
            found, param = body["error"], None
            right = isinstance(found, str) and (status is not None or odd.code in found)
        case "anthropic":
            found, param = body["error"]["type"], None
            right = body["type"] == "error" and bool(body["error"]["message"])
            right = right and (status is not None or found == odd.code)
        case _:
            error = body["error"]
            found, param = error["code"], error["param"]
            right = bool(error["message"]) and (status is not None or (found, param) == (odd.code, odd.param))
            right = right and error["type"] == (
                "invalid_request_error" if answer.status < 500 else "server_error"
            )
    if not right:
        yield f"not {odd.code} {odd.param}: {case}"
