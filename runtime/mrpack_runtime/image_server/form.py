"""Forms as browsers and OpenAI's clients upload them: multipart/form-data (RFC 7578), in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# OpenAI's form has a dozen fields.
_PARTS_LIMIT: Final = 64
_HEAD_LIMIT: Final = 8 * 1024
# A value that is no file.
_TEXT_LIMIT: Final = 256 * 1024
_TYPE: Final = "multipart/form-data"
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r';\s*name="([^"\r\n]*)"', re.IGNORECASE)
_FILE = re.compile(r";\s*filename\*?=", re.IGNORECASE)


class BadForm(ValueError):
    """What is wrong with it, in words for the client."""


@dataclass(frozen=True, slots=True)
class Form:
    """`files` keep their order; names as in the form, `image[]` being the same as `image`."""

    texts: dict[str, str]
    files: tuple[tuple[str, bytes], ...]


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == _TYPE


def parse_form(content: bytes, content_type: str) -> Form:
    """Files are not looked at. Raises BadForm."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None or not is_form(content_type) or not content_type.isascii():
        raise BadForm(f"the body must be {_TYPE} with a boundary")
    texts: dict[str, str] = {}
    files: list[tuple[str, bytes]] = []
    for head, body in _parts(content, b"--" + (boundary[1] or boundary[2]).encode("ascii")):
        name, is_file = _disposition(head)
        if is_file:
            files.append((name, body))
        elif name in texts:
            raise BadForm(f"the field {name[:80]!r} is there twice")
        else:
            texts[name] = _text(name, body)
    return Form(texts, tuple(files))


def _parts(content: bytes, delimiter: bytes) -> list[tuple[bytes, bytes]]:
    """Head and body of each. A delimiter stands at the start of a line, and two dashes end the last one."""
    found: list[tuple[bytes, bytes]] = []
    mark = b"\r\n" + delimiter
    at = len(delimiter) if content.startswith(delimiter) else -1
    if at < 0:
        raise BadForm("the form does not begin with its boundary")
    while content[at : at + 2] != b"--":
        if content[at : at + 2] != b"\r\n":
            raise BadForm("a boundary of the form is malformed")
        head_end = content.find(b"\r\n\r\n", at, at + _HEAD_LIMIT)
        body_end = content.find(mark, head_end + 2)
        if head_end < 0 or body_end < 0:
            raise BadForm("the form is cut off")
        if len(found) == _PARTS_LIMIT:
            raise BadForm(f"the form has more than {_PARTS_LIMIT} parts")
        found.append((content[at + 2 : head_end], content[head_end + 4 : body_end]))
        at = body_end + len(mark)
    return found


def _disposition(head: bytes) -> tuple[str, bool]:
    """Name of the field, and whether it is a file."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() != "content-disposition":
            continue
        name = _NAME.search(value)
        if value.split(";")[0].strip().lower() == "form-data" and name and name[1]:
            return name[1].removesuffix("[]"), _FILE.search(value) is not None
    raise BadForm("a part of the form has no name")


def _text(name: str, body: bytes) -> str:
    if len(body) > _TEXT_LIMIT:
        raise BadForm(f"the field {name[:80]!r} is longer than {_TEXT_LIMIT} bytes")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadForm(f"the field {name[:80]!r} is not UTF-8") from None
