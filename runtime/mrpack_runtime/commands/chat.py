"""The chat on a terminal: questions, commands that begin with a slash, and answers that can be broken off."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from mrpack.cli.invocation import Invocation
from mrpack.errors import MrpackError, UsageError, from_os_error
from mrpack.model.overrides import parse_setting
from mrpack_runtime.commands.attachments import Attachment, read_attachment
from mrpack_runtime.commands.conversation import Conversation, for_terminal

_QUOTES: Final = '"""'
_SAMPLING: Final = "sampling."


@dataclass(slots=True)
class Chat:
    """`attached` goes with the next question; `sees`: whether the model takes pictures."""

    invocation: Invocation
    conversation: Conversation
    sees: Callable[[], bool]
    attached: list[Attachment] = field(default_factory=list)
    is_over: bool = False

    def run(self) -> None:
        """Until /bye or the end of input. Ctrl-C ends an answer; twice at the prompt, the program."""
        import readline  # noqa: F401, PLC0415  # makes input() edit lines, and remember them

        self.invocation.say("/help shows what else can be typed; /bye or Ctrl-D ends the chat")
        was_interrupted = False
        while not self.is_over:
            try:
                text = _read_question("+ " if self.attached else "> ")
            except KeyboardInterrupt:
                if was_interrupted:
                    raise
                was_interrupted = True
                self.invocation.say("\n(Ctrl-C once more, /bye or Ctrl-D ends the chat)")
                continue
            was_interrupted = False
            if text is None:
                return
            self.take(text)

    def take(self, text: str) -> None:
        """One thing that was typed; what goes wrong with it does not end the chat."""
        word, _, rest = text.strip().partition(" ")
        command = _COMMANDS.get(word)
        try:
            if command is not None:
                command.do(self, rest.strip())
            elif word.startswith("/") and "/" not in word[1:] and not rest:
                self.invocation.say(f"there is no {word}; /help shows what there is")
            elif text.strip():
                self._ask(text)
        except MrpackError as error:
            self.invocation.say(for_terminal(str(error)))

    def attach(self, attachment: Attachment) -> None:
        """Raises UsageError for a picture that the model cannot see."""
        check_sight(attachment, self.conversation.model, self.sees)
        self.attached.append(attachment)

    def _ask(self, question: str) -> None:
        try:
            self.conversation.ask(question, self.attached, quiet=False)
        except KeyboardInterrupt:
            self.invocation.say("\n(broken off)")
            return
        except MrpackError:
            click.echo()
            raise
        click.echo()
        self.attached = []


def check_sight(attachment: Attachment, model: str, sees: Callable[[], bool]) -> None:
    if attachment.is_picture and not sees():
        raise UsageError(
            f"{attachment.name} is a picture, and {model} takes none",
            hint="a GGUF model needs its mmproj file: `mrpack package --mmproj FILE`",
        )


def _bye(chat: Chat, _: str) -> None:
    chat.is_over = True


def _clear(chat: Chat, _: str) -> None:
    chat.conversation.messages = []
    chat.attached = []
    chat.invocation.say("forgotten")


def _file(chat: Chat, name: str) -> None:
    if not name:
        raise UsageError("/file PATH")
    attachment = read_attachment(Path(name.strip("'\"")).expanduser())
    chat.attach(attachment)
    chat.invocation.say(f"{attachment.name}, {attachment.size} bytes, goes with your next question")


def _help(chat: Chat, _: str) -> None:
    names = {f"{name} {command.argument}".rstrip(): command.text for name, command in _COMMANDS.items()}
    names[_QUOTES] = "begins and ends several lines"
    width = max(map(len, names))
    chat.invocation.say("\n".join(f"{name:{width}}  {text}" for name, text in names.items() if text))


def _save(chat: Chat, name: str) -> None:
    if not name:
        raise UsageError("/save FILE")
    path = Path(name.strip("'\"")).expanduser()
    conversation = chat.conversation
    messages = [*conversation.opening, *conversation.messages]
    saved = {"model": conversation.model, "messages": messages, **conversation.fields}
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(saved, indent=2, ensure_ascii=False) + "\n")
    except FileExistsError as error:
        raise UsageError(f"{path} exists", hint="name another file: /save FILE") from error
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    chat.invocation.say(f"{len(messages)} messages are in {path}, as the body of a request")


def _set(chat: Chat, text: str) -> None:
    fields = chat.conversation.fields
    if text:
        name, _, value = text.replace("=", " ", 1).partition(" ")
        name, value = name.removeprefix(_SAMPLING), value.strip()
        if value:
            found = parse_setting(f"{_SAMPLING}{name}={value}").values
            fields |= {key.removeprefix(_SAMPLING): meant for key, meant in found.items()}
        else:
            fields.pop(name, None)
    shown = ", ".join(f"{name} {json.dumps(value)}" for name, value in fields.items())
    chat.invocation.say(shown or "nothing is set: /set temperature 0.7")


def _system(chat: Chat, text: str) -> None:
    chat.conversation.system = text or None
    chat.invocation.say("set" if text else "there is none now")


@dataclass(frozen=True, slots=True)
class _Command:
    """Without `text` it is another name, which /help leaves out."""

    do: Callable[[Chat, str], None]
    argument: str = ""
    text: str = ""


_COMMANDS: Final[Mapping[str, _Command]] = {
    "/file": _Command(_file, "PATH", "a text or a picture goes with your next question"),
    "/clear": _Command(_clear, "", "forgets what was said"),
    "/system": _Command(_system, "TEXT", "what the model is told before anything else"),
    "/set": _Command(_set, "NAME VALUE", "temperature, top_p, max_tokens, seed …; without VALUE as before"),
    "/save": _Command(_save, "FILE", "writes what was said to a new file, as JSON"),
    "/help": _Command(_help, "", "this list"),
    "/?": _Command(_help),
    "/bye": _Command(_bye, "", "ends the chat, as Ctrl-D does; Ctrl-C breaks an answer off"),
    "/exit": _Command(_bye),
    "/quit": _Command(_bye),
}


def _read_question(prompt: str) -> str | None:
    """None at the end of input."""
    try:
        line = input(prompt)
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
