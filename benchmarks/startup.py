"""What starting costs: CPU of small commands above a bare Python, in rounds in which each has its turn.

python benchmarks/startup.py [--rounds 20]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import goal, machine, run, save, version_of
from store import write_store

RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"
BARE = "python -c pass"
MODEL = "docker.io/team/m0:v1"
# What our program is asked for, and the goal: CPU milliseconds above BARE.
MRPACK = {
    ("--version",): 60,
    ("--help",): 60,
    ("list",): 120,
    ("inspect", MODEL): 120,
    ("resolve", MODEL): None,
    ("pull", "--help"): None,
    ("serve", "--help"): None,
    ("configure", "list"): None,
}
OTHERS = (("skopeo", "--version"), ("oras", "version"), ("crane", "version"), ("podman", "--version"))


def commands() -> dict[str, Sequence[str]]:
    program = str(Path(sys.executable).with_name("mrpack"))
    return {
        BARE: (sys.executable, "-c", "pass"),
        **{_name("mrpack", *arguments): (program, *arguments) for arguments in MRPACK},
        **{_name(*command): command for command in OTHERS if shutil.which(command[0])},
    }


def _name(*words: str) -> str:
    return " ".join("MODEL" if word == MODEL else word for word in words)


def measure(
    wanted: Mapping[str, Sequence[str]], env: Mapping[str, str], rounds: int
) -> list[dict[str, object]]:
    """CPU milliseconds of each: the median, that of what is above BARE in the same round, and the least."""
    seen: dict[str, list[float]] = {name: [] for name in wanted}
    turns = deque(wanted)
    for number in range(rounds + 1):
        for name in turns:
            _, user, system, _ = run(wanted[name], env)
            # The first round writes the caches of byte code.
            if number:
                seen[name].append(1000 * (user + system))
        turns.rotate(-1)
    rows: list[dict[str, object]] = []
    for name, costs in seen.items():
        above = [cost - bare for cost, bare in zip(costs, seen[BARE], strict=True)]
        rows.append(
            {
                "command": name,
                "cpu_ms": round(statistics.median(costs), 1),
                "above_ms": round(statistics.median(above), 1),
                "least_above_ms": round(min(costs) - min(seen[BARE]), 1),
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = ["| command | CPU ms | above bare Python | least above |", "|---|---|---|---|"]
    lines += [
        f"| `{row['command']}` | {row['cpu_ms']} | {row['above_ms']} | {row['least_above_ms']} |"
        for row in rows
    ]
    return "\n".join(lines)


def goals(rows: Sequence[Mapping[str, object]]) -> str:
    limits = {_name("mrpack", *arguments): limit for arguments, limit in MRPACK.items()}
    return "\n".join(
        goal(f"`{row['command']}`", row["above_ms"], limit, "ms above bare Python")
        for row in rows
        if (limit := limits.get(row["command"])) is not None
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of startup.md and startup.json")
    options = parser.parse_args()
    wanted = commands()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), 1)
        homes = {"MRPACK_HOME": folder, "MRPACK_CONFIG_HOME": folder}
        rows = measure(wanted, homes, options.rounds)
    facts = {**machine(), "rounds": str(options.rounds)}
    if "skopeo --version" in wanted:
        facts["skopeo"] = version_of(["skopeo", "--version"])
    print(save("startup", options.out, facts, f"{table(rows)}\n\n{goals(rows)}", {"rows": rows}))


if __name__ == "__main__":
    main()
