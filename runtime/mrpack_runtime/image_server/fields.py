"""The fields of a request for images: one row each, which reads and checks its value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from .refusal import Refusal

# Long prompts are cut by text encoders; this only bounds the work of tokenizers.
PROMPT_LIMIT: Final = 32_000
# What every generator of random numbers takes, with room for n images.
SEED_LIMIT: Final = 2**63 - 1024
# JSON of small numbers only.
_NUMBER_LIMIT: Final = 64


@dataclass(frozen=True, slots=True)
class Field:
    """`read` gives the value or raises ValueError with what it must be; `is_text`: never read as JSON."""

    read: Callable[[Any], Any]
    is_text: bool = False


def whole(low: int, high: int) -> Field:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
            raise ValueError("must be a whole number")
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}")
        return int(value)

    return Field(_finite(read))


def real(high: float) -> Field:
    """From 0."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number")  # noqa: TRY004  # a value that is refused, not a bug
        if not 0 <= value <= high:
            raise ValueError(f"must be from 0 to {high:g}")
        return float(value)

    return Field(_finite(read))


def _finite(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("must be a finite number")
        return read(value)

    return checked


def text(limit: int, *, empty: bool = True) -> Field:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")  # noqa: TRY004  # as above
        if not empty and not value.strip():
            raise ValueError("must not be empty")
        if len(value) > limit:
            raise ValueError(f"must have at most {limit} characters")
        if any("\ud800" <= char <= "\udfff" for char in value):  # halves, which tokenizers do not take
            raise ValueError("must be Unicode text")
        return value

    return Field(read, is_text=True)


def choice(*names: str, why: Mapping[str, str] | None = None) -> Field:
    """`why`: reasons against certain other values that clients send."""

    def read(value: Any) -> str:
        if value not in names:
            reason = (why or {}).get(value) if isinstance(value, str) else None
            raise ValueError(reason or f"must be one of {', '.join(names)}")
        return str(value)

    return Field(read, is_text=True)


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # as above
    return value


# Arguments of pipelines, by the names that requests may use for them.
ARGUMENTS: Final[Mapping[str, str]] = {
    "negative_prompt": "negative_prompt",
    "num_inference_steps": "num_inference_steps",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "guidance": "guidance_scale",
    "true_cfg_scale": "true_cfg_scale",
    "max_sequence_length": "max_sequence_length",
    "strength": "strength",
}
# Taken from OpenAI's clients, and without a meaning here.
WITHOUT_EFFECT: Final = frozenset({"user", "style", "moderation", "input_fidelity"})
# The gateway has read them, and passes forms on as they are.
_OF_GATEWAY: Final = frozenset({"model", "keep_alive"})
_FIELDS: Final[Mapping[str, Field]] = {
    "prompt": text(PROMPT_LIMIT, empty=False),
    "n": whole(1, 10),
    "size": text(16),
    "seed": whole(0, SEED_LIMIT),
    "quality": choice("auto", "low", "standard", "medium", "high", "hd"),
    "output_format": choice("png", "jpeg", "webp"),
    "output_compression": whole(0, 100),
    "background": choice("auto", "opaque", why={"transparent": "these models paint no transparent images"}),
    "response_format": choice(
        "b64_json", why={"url": "nothing is kept here that a URL could show: b64_json"}
    ),
    "stream": Field(_switch),
    "partial_images": whole(0, 3),
    "negative_prompt": text(PROMPT_LIMIT),
    "num_inference_steps": whole(1, 1000),
    "steps": whole(1, 1000),
    "guidance_scale": real(100),
    "guidance": real(100),
    "true_cfg_scale": real(100),
    "max_sequence_length": whole(1, 4096),
    "strength": real(1),
}


def read_fields(body: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that is set, checked; null is as good as absent.

    Raises:
        Refusal: an unknown field, or a value that is not taken.
    """
    found = {}
    for name, value in body.items():
        if value is None or name in WITHOUT_EFFECT | _OF_GATEWAY:
            continue
        field = _FIELDS.get(name)
        if field is None:
            raise Refusal(
                f"{name[:80]} is not a field of this request", param=name[:80], code="unknown_parameter"
            )
        try:
            found[name] = field.read(value)
        except ValueError as error:
            raise Refusal(f"{name}: {error}", param=name) from None
    return found


def from_form(texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of a form, which are all text, as JSON would have them."""
    return {name: value if _is_text(name) else _number(value) for name, value in texts.items()}


def _is_text(name: str) -> bool:
    field = _FIELDS.get(name)
    return field is None or field.is_text


def _number(value: str) -> Any:
    if value in {"true", "false"}:
        return value == "true"
    if len(value) > _NUMBER_LIMIT:
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
