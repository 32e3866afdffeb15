"""What starting costs: CPU milliseconds of small commands above a bare Python, in rounds with all of them.

python benchmarks/startup.py [--runs 20]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import machine, run, version_of
from store import write_store

RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"
BARE = "python -c pass"
MRPACK = {
    "mrpack --version": ("--version",),
    "mrpack --help": ("--help",),
    "mrpack list": ("list",),
    "mrpack inspect MODEL": ("inspect", "docker.io/team/m0:v1"),
    "mrpack resolve MODEL": ("resolve", "docker.io/team/m0:v1"),
    "mrpack pull --help": ("pull", "--help"),
}
OTHERS = {
    f"{name} --version": (name, flag)
    for name, flag in (
        ("skopeo", "--version"),
        ("oras", "version"),
        ("crane", "version"),
        ("podman", "--version"),
    )
}
# Of goals for our commands: CPU milliseconds above BARE.
LIMITS = {"mrpack --version": 60, "mrpack --help": 60, "mrpack list": 120, "mrpack inspect MODEL": 120}


def commands() -> dict[str, Sequence[str]]:
    program = str(Path(sys.executable).with_name("mrpack"))
    return {
        BARE: (sys.executable, "-c", "pass"),
        **{name: (program, *arguments) for name, arguments in MRPACK.items()},
        **{name: command for name, command in OTHERS.items() if shutil.which(command[0])},
    }


def measure(
    wanted: Mapping[str, Sequence[str]], env: Mapping[str, str], runs: int
) -> list[dict[str, object]]:
    """CPU of each in milliseconds: its median, and what is above BARE, in the same round and at least."""
    seen: dict[str, list[float]] = {name: [] for name in wanted}
    for number in range(runs + 1):
        for name, command in wanted.items():
            _, user, system, _ = run(command, env)
            # The first round writes the caches of byte code.
            if number:
                seen[name].append(1000 * (user + system))
    rows: list[dict[str, object]] = []
    for name, costs in seen.items():
        above = [cost - bare for cost, bare in zip(costs, seen[BARE], strict=True)]
        rows.append(
            {
                "command": name,
                "cpu_ms": round(statistics.median(costs), 1),
                "above_ms": round(statistics.median(above), 1),
                "least_above_ms": round(min(costs) - min(seen[BARE]), 1),
                "limit_ms": LIMITS.get(name),
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, object]]) -> str:
    lines = ["| command | CPU ms | above bare Python | least above | to reach |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row['command']}` | {row['cpu_ms']} | {row['above_ms']} | {row['least_above_ms']} |"
        f" {row['limit_ms'] or ''} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    wanted = commands()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        write_store(Path(folder), 1)
        rows = measure(wanted, {"MRPACK_HOME": folder}, options.runs)
    facts = {**machine(), "runs": str(options.runs)}
    if "skopeo --version" in wanted:
        facts["skopeo"] = version_of(["skopeo", "--version"])
    text = f"{', '.join(f'{key} {value}' for key, value in facts.items())}\n\n{table(rows)}\n"
    print(text)
    (RESULTS / "startup.md").write_text(text)
    (RESULTS / "startup.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
