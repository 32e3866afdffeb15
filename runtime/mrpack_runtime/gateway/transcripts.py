"""What was asked and answered, in the gateway's log: only where `--log-prompts` wants it."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from mrpack_runtime.gateway.guard import find_key
from mrpack_runtime.gateway.logbook import JSON_LINES

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.wire.http1 import ResponseHead

_LOG: Final = logging.getLogger(JSON_LINES)
REQUEST_ID: Final = "X-Request-Id"
# Of each request and of each answer, in bytes; what is beyond is counted only.
TEXT_LIMIT: Final = 16 * 1024
# Looked at beyond the limit, so that no half of a key is left there.
_MARGIN: Final = 4096
_MASK: Final = "[masked]"
# Keys as OpenAI, Anthropic, Hugging Face, GitHub, GitLab, Slack, AWS and Google make them, and any bearer's.
_KEYS = re.compile(
    r"(?:\b(?:sk|pk|rk|hf|gh[opsur]|github_pat|glpat|xox[abeoprs])[-_][\w-]{12,}|\bAKIA[0-9A-Z]{12,}"
    r"|\bAIza[\w-]{20,}|(?<=[Bb]earer )[^\s\"\\]{8,})"
)
_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)


class Answer(Protocol):
    """An engine's answer, read once from front to end; `Connection` has the contract of each."""

    @property
    def head(self) -> ResponseHead: ...

    async def read(self) -> bytes: ...

    async def read_all(self, limit: int) -> bytes: ...


def masked(text: str, key: str | None = None) -> str:
    """Without `key`, which the sender has shown us, and all that looks like another."""
    return _KEYS.sub(_MASK, text.replace(key, _MASK) if key else text)


def request_id(headers: Mapping[str, str]) -> str:
    """The client's own where it may stand in a log, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else secrets.token_hex(8)


class Transcript:
    """One exchange with an engine: a line of JSON for what it is asked, and one for its answer.

    Both are kept for `/engines/requests`, too.
    """

    def __init__(self, call: Call, path: str, content: bytes) -> None:
        headers = call.request.headers
        self._call = call
        self._key = find_key(headers)
        self._common = {"request_id": request_id(headers), "model": call.model, "engine": call.engine}
        self._heard = bytearray()
        self._size = 0
        self._asked = self._text(content)
        self._asked_at = time.time()
        call.headers[REQUEST_ID] = self._common["request_id"]
        self._note({"path": path, "request": self._asked, "size": len(content)})

    def hear(self, piece: bytes) -> None:
        self._heard += piece[: max(0, TEXT_LIMIT + _MARGIN - len(self._heard))]
        self._size += len(piece)

    def end(self, status: int | None) -> None:
        """`status`: of the engine's answer, None when there was none."""
        answer = self._text(bytes(self._heard))
        self._note({"status": status, "answer": answer, "size": self._size})
        request = self._call.request
        failed = status is None or status >= 400
        self._call.gateway.inspector.keep(
            {
                "id": self._common["request_id"],
                "model": self._call.model,
                "method": request.method,
                "url": request.path,
                "request": self._asked,
                "error" if failed else "response": answer,
                "timestamp": int(self._asked_at),
                "status_code": 502 if status is None else status,
                "user_agent": request.headers.get("User-Agent", ""),
                "origin": request.headers.get("Origin", ""),
            }
        )

    def _text(self, content: bytes) -> str:
        seen = content[: TEXT_LIMIT + _MARGIN].decode(errors="replace")
        return masked(seen, self._key)[:TEXT_LIMIT]

    def _note(self, more: Mapping[str, Any]) -> None:
        line = {"time": round(time.time(), 3), **self._common, **more}
        _LOG.info("%s", json.dumps(line, ensure_ascii=False))


class Heard:
    """An Answer that is written down while it is read."""

    def __init__(self, answer: Answer, transcript: Transcript) -> None:
        self._answer = answer
        self._transcript = transcript

    @property
    def head(self) -> ResponseHead:
        return self._answer.head

    async def read(self) -> bytes:
        piece = await self._answer.read()
        self._transcript.hear(piece)
        return piece

    async def read_all(self, limit: int) -> bytes:
        content = await self._answer.read_all(limit)
        self._transcript.hear(content)
        return content
