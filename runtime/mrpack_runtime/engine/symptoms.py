"""What engines write before they fail, in words for the user; nothing is decided by it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Symptom:
    r"""`pattern` is searched in single lines; `reason` and `hint` may name its groups, as `\g<name>`."""

    pattern: re.Pattern[str]
    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    reason: str
    hint: str


def diagnose(log: str, symptoms: Iterable[Symptom]) -> Diagnosis | None:
    """The first symptom, in the order of the table, that any line shows; of several lines the last."""
    lines = log.splitlines()[::-1]
    for symptom in symptoms:
        for line in lines:
            if match := symptom.pattern.search(line):
                return Diagnosis(match.expand(symptom.reason), match.expand(symptom.hint))
    return None
