"""Prompts for a benchmark: the same on every machine, and no two with the same beginning."""

from __future__ import annotations

from typing import Final

# Words that are one token in the vocabularies of today, with the space before them.
_WORDS: Final = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school"),
    *("state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week"),
    *("company", "system", "program", "question", "work", "government", "number", "night", "point", "home"),
    *("water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book"),
    *("eye", "job", "word", "business", "issue", "side", "kind", "head", "house", "service", "friend"),
    *("father", "power", "hour", "game", "line", "end", "member", "law", "car", "city", "name", "team"),
)
_TASK: Final = "Go on with this list of words:"
_TASK_TOKENS: Final = 8
# Of a linear congruential generator: Knuth, MMIX.
_FACTOR: Final = 6364136223846793005
_STEP: Final = 1442695040888963407
_RANGE: Final = 2**64


def prompt(number: int, tokens: int) -> str:
    """The prompt with this number, of about so many tokens; what the engine counted stands in its answer.

    The words differ from the first one on, so that no engine finds its beginning in a cache.
    """
    state = (number * _FACTOR + _STEP) % _RANGE
    words = []
    for _ in range(max(1, tokens - _TASK_TOKENS)):
        state = (state * _FACTOR + _STEP) % _RANGE
        words.append(_WORDS[(state >> 33) % len(_WORDS)])
    return f"{' '.join(words)}\n\n{_TASK}"
