"""A conversation with a model: what was said, and an answer while it comes."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import click

from mrpack.cli.invocation import Invocation
from mrpack.cli.messages import writing_result
from mrpack_runtime.commands.attachments import Attachment, compose
from mrpack_runtime.wire.client import GatewayClient

# Controls, what changes the direction of what stands there already, and what no font can be asked to show.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Co", "Cs"})
_SAFE: Final = frozenset("\n\t\u200d\u200c")


@dataclass(slots=True)
class Conversation:
    """What was said so far; `fields` go with every request. `is_watched`: somebody waits for words."""

    client: GatewayClient
    model: str
    fields: dict[str, Any]
    system: str | None = None
    is_watched: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def opening(self) -> list[dict[str, Any]]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def ask(self, question: str, attachments: Sequence[Attachment] = (), *, quiet: bool) -> Answer:
        """Asks, writes the answer to standard output while it comes, and remembers both when it is whole.

        Raises:
            MrpackError: as `GatewayClient.chat`; nothing is remembered then.
        """
        asked = [*self.messages, {"role": "user", "content": compose(question, attachments)}]
        body = {
            "model": self.model,
            "messages": [*self.opening, *asked],
            "stream_options": {"include_usage": True},
            **self.fields,
        }
        answer = Answer(self.model)
        with closing(self.client.chat(body)) as events, self._waiting() as answered:
            for event in events:
                spoken, thought = answer.add(event)
                if spoken or thought:
                    answered()
                if not quiet:
                    click.echo(for_terminal(thought), nl=False, err=True)
                    with writing_result():
                        click.echo(for_terminal(spoken), nl=False)
        answer.end()
        self.messages = [*asked, {"role": "assistant", "content": answer.text}]
        return answer

    @contextmanager
    def _waiting(self) -> Iterator[Callable[[], None]]:
        """A sign of life until the first word: loading a model may take minutes."""
        if not self.is_watched:
            yield lambda: None
            return
        from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal

        with Console(stderr=True).status(f"waiting for {self.model}") as status:
            yield status.stop


@dataclass(slots=True)
class Answer:
    """What came of it so far. Times in seconds since it was asked for."""

    model: str
    text: str = ""
    thoughts: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    first_s: float | None = None
    total_s: float | None = None
    _begun: float = field(default_factory=time.monotonic)

    def add(self, event: Mapping[str, Any]) -> tuple[str, str]:
        """Takes in an event of the stream; what the model said and what it thought in it."""
        self.model = str(event.get("model") or self.model)
        self.usage = event.get("usage") or self.usage
        spoken = thought = ""
        for choice in event.get("choices") or ():
            delta = choice.get("delta") or {}
            spoken += delta.get("content") or ""
            thought += delta.get("reasoning_content") or delta.get("reasoning") or ""
            self.finish_reason = choice.get("finish_reason") or self.finish_reason
        if self.first_s is None and (spoken or thought):
            self.first_s = time.monotonic() - self._begun
        self.text += spoken
        self.thoughts += thought
        return spoken, thought

    def end(self) -> None:
        self.total_s = time.monotonic() - self._begun

    def to_json(self) -> dict[str, Any]:
        found = {"model": self.model, "content": self.text, "finish_reason": self.finish_reason}
        if self.thoughts:
            found["reasoning_content"] = self.thoughts
        return {**found, "usage": self.usage, "timings": self._timings()}

    def _timings(self) -> dict[str, float | None]:
        tokens = (self.usage or {}).get("completion_tokens") or 0
        rate = None
        if self.first_s is not None and self.total_s is not None and tokens > 1:
            rate = round((tokens - 1) / max(self.total_s - self.first_s, 1e-6), 3)
        return {
            "time_to_first_token_s": None if self.first_s is None else round(self.first_s, 6),
            "total_s": None if self.total_s is None else round(self.total_s, 6),
            "tokens_per_s": rate,
        }


def answer_once(
    invocation: Invocation, conversation: Conversation, question: str, attachments: Sequence[Attachment]
) -> None:
    """The whole command when there is a question."""
    answer = conversation.ask(question, attachments, quiet=invocation.json)
    if invocation.json:
        invocation.result("", answer.to_json())
    else:
        with writing_result():
            click.echo()


def for_terminal(text: str) -> str:
    """A model's words without what could rewrite the terminal."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char in _SAFE or unicodedata.category(char) not in _UNSAFE)
