"""What values a setting takes: a kind checks them, reads them from command lines and says its JSON Schema."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard

# Engines keep whole numbers in an int32.
INT32_MAX: Final = 2**31 - 1

Schema = dict[str, Any]


class Kind(Protocol):
    """What values a setting has: the one rule behind the command line, documents and the JSON schema."""

    @property
    def words(self) -> str:
        """The values that are taken, for people."""
        ...

    def takes(self, value: Any) -> bool: ...

    def refusal(self, value: Any) -> str:
        """`words` when `value` is not taken, else empty."""
        ...

    def read(self, text: str) -> Any:
        """The value that `text` of a command line means, unchecked. Raises ValueError when it means none."""
        ...

    def canonical(self, value: Any) -> Any:
        """The one spelling of a value that is taken, so that the same settings are the same bytes."""
        ...

    def schema(self) -> Schema:
        """JSON Schema (2020-12) for the values that `takes` takes."""
        ...


class JsonKind:
    """What most kinds have in common: JSON on the command line, one spelling."""

    __slots__ = ()

    def refusal(self: Kind, value: Any) -> str:
        return "" if self.takes(value) else self.words

    def read(self, text: str) -> Any:
        return json.loads(text)

    def canonical(self, value: Any) -> Any:
        return value


class TextKind(JsonKind):
    """Stands on the command line as it is."""

    __slots__ = ()

    def read(self, text: str) -> Any:
        return text


def is_number(value: Any) -> TypeGuard[float]:
    """A JSON number that every program can read: finite, or whole and of at most 64 bits."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_whole(value: Any) -> TypeGuard[float]:
    """JSON has one type of number: 4096.0 is whole."""
    return is_number(value) and int(value) == value


def _number(value: float) -> float:
    return int(value) if is_whole(value) else value


@dataclass(frozen=True, slots=True)
class Whole(JsonKind):
    minimum: int = 0
    maximum: int = INT32_MAX

    @property
    def words(self) -> str:
        limit = "2^31-1" if self.maximum == INT32_MAX else str(self.maximum)
        return f"a whole number from {self.minimum} to {limit}"

    def takes(self, value: Any) -> bool:
        return is_whole(value) and self.minimum <= value <= self.maximum

    def canonical(self, value: Any) -> Any:
        return int(value)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True, slots=True)
class Real(JsonKind):
    minimum: float
    maximum: float

    @property
    def words(self) -> str:
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def takes(self, value: Any) -> bool:
        return is_number(value) and self.minimum <= value <= self.maximum

    def canonical(self, value: Any) -> Any:
        return _number(value)

    def schema(self) -> Schema:
        return {"type": "number", "minimum": _number(self.minimum), "maximum": _number(self.maximum)}


@dataclass(frozen=True, slots=True)
class Switch(JsonKind):
    @property
    def words(self) -> str:
        return "true or false"

    def takes(self, value: Any) -> bool:
        return isinstance(value, bool)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice(TextKind):
    names: tuple[str, ...]

    @property
    def words(self) -> str:
        return f"one of {', '.join(self.names)}"

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and value in self.names

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.names)}


@dataclass(frozen=True, slots=True)
class Pattern(TextKind):
    """A short text of which every character is accounted for."""

    expression: str
    meaning: str

    @property
    def words(self) -> str:
        return self.meaning

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.expression, value) is not None

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.expression}$"}


@dataclass(frozen=True, slots=True)
class Prose(TextKind):
    """Text for the model, which no program takes for anything else."""

    limit: int

    @property
    def words(self) -> str:
        return f"a text of at most {self.limit} characters"

    def takes(self, value: Any) -> bool:
        return isinstance(value, str) and len(value) <= self.limit

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self.limit}


@dataclass(frozen=True, slots=True)
class Texts(JsonKind):
    """Short texts for the model; a command line may give the only one as it is."""

    count: int
    limit: int

    @property
    def words(self) -> str:
        return f"a list of at most {self.count} texts of 1 to {self.limit} characters"

    def takes(self, value: Any) -> bool:
        if not isinstance(value, list) or len(value) > self.count:
            return False
        return all(isinstance(item, str) and 0 < len(item) <= self.limit for item in value)

    def read(self, text: str) -> Any:
        return json.loads(text) if text.startswith("[") else [text]

    def schema(self) -> Schema:
        item = {"type": "string", "minLength": 1, "maxLength": self.limit}
        return {"type": "array", "maxItems": self.count, "items": item}
