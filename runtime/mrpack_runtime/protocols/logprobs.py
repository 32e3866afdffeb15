"""How likely each token was, as OpenAI tells it, also of engines that tell it otherwise.

llama-server gives a completion's in the shape of a chat's, none at all where no alternatives are asked for,
and twenty where nobody says how many (measured with xllamacpp 2026.10).
"""

from __future__ import annotations

from codecs import IncrementalDecoder, getincrementaldecoder
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mrpack.model.overrides.kinds import is_whole
from mrpack_runtime.protocols import CHAT, OPENAI_EVENTS, Answering, Asked, JsonObject, Served

_decoder: Callable[[str], IncrementalDecoder] = getincrementaldecoder("utf-8")


def parse_logprobs(path: str, body: JsonObject) -> Asked | None:
    """A chat or a completion in OpenAI's words that wants them; None: engines answer it as it is.

    What is malformed is left to the checks that follow.
    """
    if path == CHAT:
        if body.get("logprobs") is not True or body.get("top_logprobs") not in (None, 0):
            return None
        return _asked(path, body | {"top_logprobs": 1}, lambda served: ChatOdds(served.model))
    if not is_whole(body.get("logprobs")) or body["logprobs"] < 0:
        return None
    # OpenAI gives the chosen token itself, and so one more than was asked for.
    count = max(1, int(body["logprobs"]))
    return _asked(path, body | {"logprobs": count}, lambda served: TextOdds(served.model))


def _asked(path: str, body: JsonObject, answering: Callable[[Served], Answering]) -> Asked:
    return Asked(path=path, body=body, answering=answering, framing=OPENAI_EVENTS)


def odds_of(row: JsonObject, *, alternatives: bool) -> JsonObject:
    """A token with what OpenAI tells of it, and no more; `alternatives`: whether they were asked for."""
    others = _objects(row.get("top_logprobs")) if alternatives else []
    return {**_odds(row), "top_logprobs": [_odds(other) for other in others]}


def _odds(row: JsonObject) -> JsonObject:
    return {
        "token": str(row.get("token", "")),
        "bytes": list(_bytes(row)),
        "logprob": row.get("logprob"),
    }


@dataclass(slots=True)
class ChatOdds:
    """A chat's answer without the alternatives, for which nobody asked."""

    model: str

    def answer(self, body: JsonObject) -> JsonObject:
        choices = body.get("choices")
        if not isinstance(choices, list):
            return {**body, "model": self.model}
        shown = [self.choice(choice) if isinstance(choice, dict) else choice for choice in choices]
        return {**body, "model": self.model, "choices": shown}

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (self.answer(event),)

    def end(self) -> tuple[JsonObject, ...]:
        return ()

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return ({"error": error},)

    def choice(self, choice: JsonObject) -> JsonObject:
        if (rows := _rows(choice)) is None:
            return choice
        return {**choice, "logprobs": {**choice["logprobs"], "content": [_alone(row) for row in rows]}}


@dataclass(slots=True)
class TextOdds(ChatOdds):
    """A completion's answer; `text_offset` counts characters of its own text, as vLLM has it."""

    _texts: dict[Any, _Text] = field(default_factory=dict)

    def choice(self, choice: JsonObject) -> JsonObject:
        if (rows := _rows(choice)) is None:
            return choice
        text = self._texts.setdefault(choice.get("index"), _Text())
        return {
            **choice,
            "logprobs": {
                "tokens": [_name(row) for row in rows],
                "token_logprobs": [row.get("logprob") for row in rows],
                "top_logprobs": [
                    {_name(other): other.get("logprob") for other in _objects(row.get("top_logprobs"))}
                    for row in rows
                ],
                "text_offset": [text.add(row) for row in rows],
            },
        }


@dataclass(slots=True)
class _Text:
    """What one choice has said so far: a character may take several tokens."""

    length: int = 0
    decoder: IncrementalDecoder = field(default_factory=lambda: _decoder("replace"))

    def add(self, row: JsonObject) -> int:
        """Where this token begins."""
        begin = self.length
        self.length += len(self.decoder.decode(_bytes(row)))
        return begin


def _rows(choice: JsonObject) -> list[JsonObject] | None:
    """In the shape of chats; None where there are none, or they are in another."""
    found = choice.get("logprobs")
    return _objects(found["content"]) if isinstance(found, dict) and "content" in found else None


def _objects(value: Any) -> list[JsonObject]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _alone(row: JsonObject) -> JsonObject:
    return {**row, "top_logprobs": []}


def _bytes(row: JsonObject) -> bytes:
    found = row.get("bytes")
    if isinstance(found, list) and all(is_whole(byte) and 0 <= byte < 256 for byte in found):
        return bytes(found)
    return str(row.get("token", "")).encode(errors="replace")


def _name(row: JsonObject) -> str:
    """Its text; of a part of a character its bytes, as OpenAI writes them."""
    content = _bytes(row)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)
