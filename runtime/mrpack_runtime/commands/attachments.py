"""Files that go to a model with a question: text as it is, pictures as data URLs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrpack.errors import UsageError, from_os_error

# In base64 a third more, and the gateway takes bodies of 32 MiB.
_LIMIT: Final = 20 * 1024 * 1024
# By their first bytes, as their names may say anything; WebP has its own after eight of RIFF's.
_PICTURES: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
}
_ENCODINGS: Final = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

Content = str | list[dict[str, Any]]
"""Of a message, as OpenAI's API has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """`text` is that of the file, or a `data:` URL when it is a picture; `size` in bytes."""

    name: str
    text: str
    is_picture: bool
    size: int


def read_attachment(path: Path) -> Attachment:
    """Raises NotFound or what the system says, and UsageError for a folder or neither text nor a picture."""
    try:
        size = path.stat().st_size
        if size > _LIMIT:
            raise UsageError(f"{path}: {size} bytes are more than {_LIMIT}")
        content = path.read_bytes()
    except IsADirectoryError as error:
        raise UsageError(f"{path} is a folder", hint="name the files in it, one by one") from error
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if (kind := _picture(content)) is not None:
        url = f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
        return Attachment(name=path.name, text=url, is_picture=True, size=size)
    return Attachment(name=path.name, text=_text(content, path), is_picture=False, size=size)


def _picture(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for begin, kind in _PICTURES.items() if content.startswith(begin))
    kind = next(found, None)
    # A text can begin with BM; in the head of a bitmap there are always zeros.
    return None if kind == "image/bmp" and b"\0" not in content[:32] else kind


def _text(content: bytes, path: Path) -> str:
    found = (encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark))
    try:
        text = content.decode(next(found, "utf-8"))
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(
            f"{path} is neither text nor a picture",
            hint="text in UTF-8 or UTF-16, or a PNG, JPEG, GIF, BMP or WebP picture",
        )
    return text


def compose(question: str, attachments: Sequence[Attachment]) -> Content:
    """Texts come before the question under their names, since models weigh the end of a prompt most."""
    texts = [f"{file.name}:\n\n{file.text.rstrip()}" for file in attachments if not file.is_picture]
    text = "\n\n".join([*texts, question] if question else texts)
    pictures = [
        {"type": "image_url", "image_url": {"url": file.text}} for file in attachments if file.is_picture
    ]
    if not pictures:
        return text
    return [*pictures, {"type": "text", "text": text}] if text else list(pictures)
