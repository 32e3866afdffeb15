"""What llama.cpp's server does with requests that it should refuse, and what clients are told instead."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mrpack.formats.gguf import read_header
from mrpack_runtime.engine import ModelBundle

# It has no code and no type of its own for that (llama.cpp 0c1e570, b11549): 500, `server_error`.
_TOO_LONG: Final = re.compile(r"input \((\d+) tokens\) is too large to process\..*current batch size: (\d+)")
# llama-cpp-python 0.3.36 says 500 of a picture that is none; llama-server says 400.
_NO_PICTURE: Final = "Failed to create bitmap from image bytes"
# As the file has them; the second is taken for requests with tools.
_TEMPLATE_KEYS: Final = ("tokenizer.chat_template", "tokenizer.chat_template.tool_use")


def tool_refusal(bundle: ModelBundle) -> str | None:
    """Where the template has no word for tools, the model would answer as if it had not been asked."""
    if any("tool" in template for template in _templates(bundle.chat_template, bundle.weights[0])):
        return None
    return "this model cannot be made to call a function: its chat template knows no tools"


@lru_cache(maxsize=32)
def _templates(file: Path | None, weights: Path) -> tuple[str, ...]:
    """Files of a bundle never change, and some headers take a fifth of a second."""
    if file is not None:
        return (file.read_text(encoding="utf-8"),)
    header = read_header(weights).values
    return tuple(str(header[key]) for key in _TEMPLATE_KEYS if key in header)


def ranking_refusal(bundle: ModelBundle) -> str | None:
    """Where the model has nothing that judges, the first number of a vector would be told for a judgement."""
    if any(map(_judges, bundle.weights)):
        return None
    return "this model was not made to rank documents: it has no weights that judge them"


@lru_cache(maxsize=32)
def _judges(weights: Path) -> bool:
    """`cls`, `cls.norm` or `cls.output`, as llama.cpp calls them (b11549)."""
    return any(tensor.name.startswith("cls.") for tensor in read_header(weights).tensors)


def explained(status: int, error: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """An input for one vector has to fit one computation, and a picture has to be one."""
    if status == 500 and error.get("message") == _NO_PICTURE:
        refusal = {"type": "invalid_request_error", "param": "messages", "code": "invalid_request"}
        return 400, {**error, "message": "an image cannot be read", **refusal}
    found = _TOO_LONG.search(str(error.get("message"))) if status == 500 else None
    if found is None:
        return status, error
    tokens, limit = found.groups()
    return 400, {
        **error,
        "message": f"the input has {tokens} tokens, and this engine takes {limit} at once"
        " (the setting llamacpp.ubatch_size)",
        "type": "invalid_request_error",
        "param": "input",
        "code": "context_length_exceeded",
    }
