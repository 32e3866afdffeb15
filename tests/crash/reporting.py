"""What the programs here are asked, and print: every problem, a line an operation, and the sum."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """`operation`, a list of names or None, and `every`: one of so many points."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--operation", action="append", help="default: all")
    parser.add_argument("--every", type=int, default=1)
    return parser


def asked(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Of a program that takes no other options."""
    return parser_of(description).parse_args(arguments)


def tell(
    runs: Mapping[str, Iterable[tuple[str, list[str]]]], wanted: Collection[str] | None, what: str
) -> int:
    """Runs those that are wanted, or all; each gives points and what was wrong there. The exit code."""
    points = failures = 0
    for name, run in runs.items():
        if wanted and name not in wanted:
            continue
        begun = points
        for point, problems in run:
            points += 1
            failures += bool(problems)
            for problem in problems:
                print(f"{point}: {problem}", flush=True)
        print(f"{name}: {points - begun} {what}", flush=True)
    print(f"{points} {what}, {failures} with problems")
    return 1 if failures else 0
