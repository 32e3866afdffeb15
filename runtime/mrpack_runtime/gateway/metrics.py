"""What happened, in numbers: Prometheus' text format, without any prompt or key."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_TOKENS = re.compile(rb'"(prompt|completion)_tokens"\s*:\s*([0-9]{1,12})')
_USAGE: Final = b'"usage"'
# Clients could invent names without end; the models that a gateway has run are few.
_SERIES_LIMIT: Final = 1000
_WAITING_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: `suffix` is added to the family's name."""

    value: float
    labels: Labels = ()
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str
    text: str
    samples: tuple[Sample, ...]


@dataclass(slots=True)
class Counter:
    name: str
    text: str
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        if labels in self.values or len(self.values) < _SERIES_LIMIT:
            self.values[labels] = self.values.get(labels, 0.0) + amount

    def family(self) -> Family:
        return Family(
            self.name,
            "counter",
            self.text,
            tuple(Sample(value, labels) for labels, value in self.values.items()),
        )


@dataclass(slots=True)
class Histogram:
    name: str
    text: str
    bounds: tuple[float, ...] = _WAITING_S
    _counts: dict[Labels, list[int]] = field(default_factory=dict)
    _sums: dict[Labels, float] = field(default_factory=dict)

    def observe(self, labels: Labels, value: float) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            if len(self._counts) >= _SERIES_LIMIT:
                return
            counts = self._counts[labels] = [0] * (len(self.bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self.bounds, value)] += 1
        self._sums[labels] += value

    def family(self) -> Family:
        samples: list[Sample] = []
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
                total += count
                samples.append(Sample(total, (*labels, ("le", bound)), "_bucket"))
            samples.append(Sample(self._sums[labels], labels, "_sum"))
            samples.append(Sample(total, labels, "_count"))
        return Family(self.name, "histogram", self.text, tuple(samples))


class Metrics:
    """Counts of one gateway. Belongs to one event loop; every method costs about a microsecond."""

    def __init__(self) -> None:
        self._requests = Counter("mrpack_requests_total", "Requests answered, by route, status and model.")
        self._tokens = Counter("mrpack_tokens_total", "Tokens that engines counted, read and written.")
        self._first = Histogram(
            "mrpack_time_to_first_byte_seconds", "From a request to the first byte of an engine's answer."
        )
        self._duration = Histogram(
            "mrpack_request_duration_seconds", "From a request to the end of its answer."
        )

    def answered(self, route: str, status: str, model: str, seconds: float) -> None:
        self._requests.add((("route", route), ("status", status), ("model", model)))
        if model:
            self._duration.observe((("model", model),), seconds)

    def first_byte(self, model: str, seconds: float) -> None:
        self._first.observe((("model", model),), seconds)

    def counted(self, model: str, content: bytes) -> None:
        """Adds the token counts that `content`, a piece of an engine's answer, tells."""
        start = content.rfind(_USAGE)
        if start < 0:
            return
        for match in _TOKENS.finditer(content, start):
            kind = match[1].decode()
            self._tokens.add((("model", model), ("kind", kind)), int(match[2]))

    def families(self) -> tuple[Family, ...]:
        return tuple(part.family() for part in (self._requests, self._tokens, self._first, self._duration))


def render(families: Iterable[Family]) -> str:
    """The text format, version 0.0.4. Families of one name become one."""
    merged: dict[str, Family] = {}
    for family in families:
        before = merged.get(family.name)
        merged[family.name] = (
            family
            if before is None
            else Family(family.name, before.kind, before.text, before.samples + family.samples)
        )
    lines: list[str] = []
    for family in merged.values():
        if family.text:
            lines.append(f"# HELP {family.name} {family.text}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [
            f"{family.name}{sample.suffix}{_labels(sample.labels)} {sample.value:.17g}"
            for sample in family.samples
        ]
    return "\n".join(lines) + "\n"


_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?[0-9]+)?")
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?\s*')
_ESCAPES: Final[Mapping[str, str]] = {"\\": "\\\\", '"': '\\"', "\n": "\\n"}
_UNESCAPES: Final[Mapping[str, str]] = {value: key for key, value in _ESCAPES.items()}


def parse(text: str, labels: Labels) -> tuple[Family, ...]:
    """The families of an engine's metrics, each sample with `labels` more; what is malformed is left out."""
    kinds: dict[str, str] = {}
    texts: dict[str, str] = {}
    samples: dict[str, list[Sample]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            _, _, rest = line.partition(" ")
            word, _, rest = rest.partition(" ")
            name, _, rest = rest.partition(" ")
            if word in {"HELP", "TYPE"}:
                (texts if word == "HELP" else kinds)[name] = rest.strip()
            continue
        match = _SAMPLE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        name = _family_name(match[1], kinds)
        own = tuple((key, _unescape(text)) for key, text in _LABEL.findall(match[2] or ""))
        taken = {key for key, _ in labels}
        kept = tuple((key, text) for key, text in own if key not in taken)
        samples.setdefault(name, []).append(Sample(value, (*kept, *labels), match[1].removeprefix(name)))
    return tuple(
        Family(name, kinds.get(name, "untyped"), texts.get(name, ""), tuple(found))
        for name, found in samples.items()
    )


def _family_name(name: str, kinds: Mapping[str, str]) -> str:
    if name in kinds:
        return name
    for suffix in ("_bucket", "_sum", "_count"):
        if kinds.get(name.removesuffix(suffix)) in {"histogram", "summary"}:
            return name.removesuffix(suffix)
    return name


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}" if labels else ""


def _escape(value: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in value)


def _unescape(value: str) -> str:
    return re.sub(r"\\.", lambda match: _UNESCAPES.get(match[0], match[0]), value)
