"""Runs commands and says what they cost: wall and CPU seconds, peak memory; tables, JSON and a plot."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

COLOURS = {"mrpack": "#2a6f97"}


@dataclass(frozen=True)
class Cost:
    """`wall` and `cpu` in seconds, `rss` the peak of the largest process in MiB; medians of several runs."""

    job: str
    client: str
    wall: float
    cpu: float
    rss: float


def run(command: Sequence[str], env: dict[str, str] | None = None) -> tuple[float, float, float]:
    """Wall, CPU and peak memory of one command and its children; it has to succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _Peak(process.pid)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{errors}")
    return wall, used.ru_utime + used.ru_stime, watch.stop()


class _Peak:
    """The high-water mark of a process, in MiB; that of wait4 has the parent's in it, from the fork."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            with contextlib.suppress(OSError):
                for line in self._status.read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self._peak = max(self._peak, int(line.split()[1]) / 1024)

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak


def measure(
    job: str,
    client: str,
    command: Sequence[str],
    *,
    runs: int,
    before: Callable[[], object] = lambda: None,
    env: dict[str, str] | None = None,
) -> Cost:
    """The median of `runs`, each after `before`, which is not counted."""
    seen = []
    for _ in range(runs):
        before()
        seen.append(run(command, env))
    cost = Cost(job, client, *(round(statistics.median(column), 3) for column in zip(*seen, strict=True)))
    print(f"  {client:<18} {cost.wall:7.2f} s wall  {cost.cpu:7.2f} s CPU  {cost.rss:7.0f} MiB", flush=True)
    return cost


def measure_rounds(
    job: str,
    commands: Mapping[str, Sequence[str]],
    *,
    runs: int,
    before: Callable[[], object],
    env: dict[str, str],
) -> list[Cost]:
    """Medians over rounds in which every client has its turn, so that a busy minute is everybody's."""
    seen: dict[str, list[tuple[float, float, float]]] = {client: [] for client in commands}
    for _ in range(runs):
        for client, command in commands.items():
            before()
            seen[client].append(run(command, env))
    costs = []
    for client, rows in seen.items():
        middle = (round(statistics.median(column), 3) for column in zip(*rows, strict=True))
        costs.append(Cost(job, client, *middle))
        print(f"  {client:<18} {costs[-1].wall:7.2f} s wall  {costs[-1].cpu:7.2f} s CPU", flush=True)
    return costs


def table(costs: Sequence[Cost], reference: dict[str, str]) -> str:
    """Markdown; ratios are to the client that `reference` names for the job."""
    lines = [
        "| job | client | wall s | CPU s | peak MiB | wall ratio | CPU ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for cost in costs:
        base = next((c for c in costs if c.job == cost.job and c.client == reference.get(cost.job)), None)
        ratios = (f"{cost.wall / base.wall:.2f}", f"{cost.cpu / base.cpu:.2f}") if base else ("", "")
        lines.append(
            f"| {cost.job} | {cost.client} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.rss:.0f} |"
            f" {ratios[0]} | {ratios[1]} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, str]:
    cpu = "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        cpu = f"{len(names)} x {names[0].partition(':')[2].strip()}" if names else cpu
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def version_of(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()[:60] if done.returncode == 0 else "absent"


def plot(costs: Sequence[Cost], path: Path, title: str) -> None:
    """Bars of CPU seconds by job, as SVG."""
    height = 26 * len(costs) + 60
    widest = max(cost.cpu for cost in costs) or 1
    size = f'width="760" height="{height}" font-family="sans-serif" font-size="13"'
    heading = f'<text x="10" y="24" font-size="16">{escape(title)} (CPU seconds)</text>'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{heading}']
    for number, cost in enumerate(costs):
        y = 44 + 26 * number
        width = 400 * cost.cpu / widest
        colour = COLOURS.get(cost.client, "#adb5bd")
        parts.append(
            f'<text x="10" y="{y + 14}">{escape(cost.job)}: {escape(cost.client)}</text>'
            f'<rect x="260" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>'
            f'<text x="{266 + width:.1f}" y="{y + 14}">{cost.cpu:.2f}</text>'
        )
    path.write_text("\n".join([*parts, "</svg>\n"]))


def write(
    name: str, folder: Path, costs: Sequence[Cost], reference: dict[str, str], versions: dict[str, str]
) -> None:
    """Print the table; write NAME.json, NAME.md and NAME.svg into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = machine() | versions
    text = table(costs, reference)
    print("\n" + text)
    (folder / f"{name}.json").write_text(
        json.dumps({"machine": facts, "costs": [asdict(cost) for cost in costs]}, indent=2) + "\n"
    )
    header = ", ".join(f"{key} {value}" for key, value in facts.items())
    (folder / f"{name}.md").write_text(f"{header}\n\n{text}\n")
    plot(costs, folder / f"{name}.svg", name)
    print(f"\nwritten to {folder}", file=sys.stderr)
