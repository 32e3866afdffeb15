"""What a check finds: in which document, at which key, against which rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mrpack.errors import MrpackError

_MESSAGE_LIMIT: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`document`: manifest, config, mrpack.json or a file. `where`: a key in it, such as `layers[3].digest`.

    `rule` is stable; `message` is for people, and one line.
    """

    document: str
    where: str
    rule: str
    message: str

    def to_json(self) -> dict[str, str]:
        return {
            "document": self.document,
            "where": self.where,
            "rule": self.rule,
            "message": self.message,
        }

    def __str__(self) -> str:
        place = f"{self.document} {self.where}".rstrip()
        return f"{place}: {self.message} [{self.rule}]"


def found(document: str, where: str, rule: str, message: str) -> Finding:
    line = " ".join(message.split())
    if len(line) > _MESSAGE_LIMIT:
        line = f"{line[:_MESSAGE_LIMIT]}…"
    return Finding(document=document, where=where, rule=rule, message=line)


def from_error(error: MrpackError, document: str, rule: str) -> Finding:
    """What a reader or writer of ours refuses; the place it names, within `document`."""
    where = getattr(error, "where", "")
    message = error.message.removeprefix(f"{where}: ")
    where = where.removeprefix(document).lstrip(".")
    return found(document, where, rule, f"{message} ({error.hint})" if error.hint else message)


def key_path(parts: Iterable[str | int]) -> str:
    """`layers[3].annotations[org.cncf.model.filepath]`, as the errors of our readers have it."""
    text = ""
    for part in parts:
        if isinstance(part, int) or not part.isidentifier():
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text
