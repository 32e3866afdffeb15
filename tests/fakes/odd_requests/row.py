"""One odd request: the bytes that are sent, and what has to come back."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass
from typing import Any

from tests.fakes.engine import PIXEL
from tests.fakes.gateway import CHAT

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
    "/v1/apply-template": {"messages": QUESTION},
}
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


@dataclass(frozen=True)
class Odd:
    """`code`: OpenAI's, Anthropic's type, or for Ollama, which has none, a word of its text.

    `needs_text`: told once the model is known to be one that chats; else before any model is looked at.
    """

    name: str
    raw: bytes
    status: int
    code: str = ""
    param: str | None = None
    _: KW_ONLY
    path: str = CHAT
    needs_text: bool = False

    def to(self, model: str) -> bytes:
        """With the length of what is sent then."""
        head, _, body = self.raw.replace(MODEL.encode(), model.encode()).partition(b"\r\n\r\n")
        return head.replace(b"LENGTH", str(len(body)).encode()) + b"\r\n\r\n" + body


def raw(method: str, path: str, body: bytes | None = None, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if body is not None and not any(line.startswith(("Content-Length", "Transfer-")) for line in headers):
        lines.append("Content-Length: LENGTH")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


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
    return Odd(
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
