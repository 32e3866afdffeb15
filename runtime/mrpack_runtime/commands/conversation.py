"""Talking to a model on a terminal: one question, or a chat that remembers."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

import click

from mrpack.cli.invocation import Invocation
from mrpack.errors import MrpackError
from mrpack_runtime.client import GatewayClient

_HELP: Final = '/bye ends the chat, /clear forgets what was said, """ begins and ends several lines'
_QUOTES: Final = '"""'
# Control characters, and those that change the direction of what stands there already.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Co", "Cs"})
_SAFE: Final = frozenset("\n\t\u200d\u200c")


@dataclass(slots=True)
class Conversation:
    """What was said so far; `fields` go with every request."""

    client: GatewayClient
    model: str
    fields: Mapping[str, Any]
    system: str | None = None
    messages: list[dict[str, str]] = field(default_factory=list)

    def ask(self, question: str, *, quiet: bool) -> Answer:
        """Asks, writes the answer to standard output while it comes, and remembers both when it is whole.

        Raises:
            MrpackError: as `GatewayClient.chat`; nothing is remembered then.
        """
        asked = [*self.messages, {"role": "user", "content": question}]
        opening = [{"role": "system", "content": self.system}] if self.system else []
        body = {
            "model": self.model,
            "messages": [*opening, *asked],
            "stream_options": {"include_usage": True},
            **self.fields,
        }
        answer = Answer(self.model)
        with closing(self.client.chat(body)) as events:
            for event in events:
                spoken, thought = answer.add(event)
                if not quiet:
                    click.echo(for_terminal(thought), nl=False, err=True)
                    click.echo(for_terminal(spoken), nl=False)
                    sys.stdout.flush()
        self.messages = [*asked, {"role": "assistant", "content": answer.text}]
        return answer


@dataclass(slots=True)
class Answer:
    model: str
    text: str = ""
    thoughts: str = ""
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None

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
        self.text += spoken
        self.thoughts += thought
        return spoken, thought

    def to_json(self) -> dict[str, Any]:
        found = {"model": self.model, "content": self.text, "finish_reason": self.finish_reason}
        if self.thoughts:
            found["reasoning_content"] = self.thoughts
        return {**found, "usage": self.usage}


def answer_once(invocation: Invocation, conversation: Conversation, question: str) -> None:
    """The whole command when there is a question."""
    answer = conversation.ask(question, quiet=invocation.json)
    if invocation.json:
        invocation.result("", answer.to_json())
    else:
        click.echo()


def chat(invocation: Invocation, conversation: Conversation) -> None:
    """Until /bye or the end of input. Ctrl-C ends an answer, and at the prompt the chat."""
    import readline  # noqa: F401, PLC0415  # makes input() edit lines

    invocation.say(_HELP)
    while (question := _read_question()) is not None:
        match question.strip():
            case "":
                continue
            case "/bye" | "/exit" | "/quit":
                return
            case "/clear":
                conversation.messages = []
            case "/?" | "/help":
                invocation.say(_HELP)
            case text if text.startswith("/") and " " not in text:
                invocation.say(f"there is no {text}; {_HELP}")
            case text:
                _answer(invocation, conversation, text)


def _answer(invocation: Invocation, conversation: Conversation, question: str) -> None:
    """An answer that fails or is broken off does not end the chat."""
    try:
        conversation.ask(question, quiet=False)
    except KeyboardInterrupt:
        invocation.say("\n(broken off)")
    except MrpackError as error:
        invocation.say(f"\n{for_terminal(str(error))}")
    else:
        click.echo()


def _read_question() -> str | None:
    try:
        line = input("> ")
        if not line.lstrip().startswith(_QUOTES):
            return line
        lines = [line.lstrip().removeprefix(_QUOTES)]
        while not lines[-1].rstrip().endswith(_QUOTES):
            lines.append(input(". "))
    except EOFError:
        click.echo()
        return None
    lines[-1] = lines[-1].rstrip().removesuffix(_QUOTES)
    return "\n".join(lines)


def for_terminal(text: str) -> str:
    """A model's words without what could rewrite the terminal."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char in _SAFE or unicodedata.category(char) not in _UNSAFE)
