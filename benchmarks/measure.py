"""Runs commands and says what they cost: wall and CPU seconds, peak memory; tables, JSON and a plot.

As a program it draws the plots of earlier runs anew: `python benchmarks/measure.py NAME.json…`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

# User and system, of ours and of the others.
OUR_COLOURS = ("#1d4e70", "#6ba8cf")
COLOURS = ("#6c757d", "#ced4da")

Command = Sequence[str] | Callable[[], Sequence[str]]
"""What is run; a callable makes it anew for each run."""


@dataclass(frozen=True)
class Cost:
    """`wall`, `user` and `system` in seconds, `rss` the peak of the largest process in MiB.

    Medians of several runs; `walls` are those of each, in order.
    """

    job: str
    client: str
    wall: float
    user: float
    system: float
    rss: float
    walls: tuple[float, ...] = ()

    @property
    def cpu(self) -> float:
        return self.user + self.system


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> tuple[float, float, float, float]:
    """Wall, user, system and peak memory of one command and its children; it has to succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = _Peak(process.pid)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    peak = watch.stop()
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:400]}: exit {process.returncode}\n{errors}")
    return wall, used.ru_utime, used.ru_stime, peak


class _Peak:
    """The high-water mark of a process, in MiB; that of wait4 has the parent's in it, from the fork."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._peak = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                for line in self._status.read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        self._peak = max(self._peak, int(line.split()[1]) / 1024)
            if self._over.wait(0.02):
                return

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak


def measure(
    job: str,
    client: str,
    command: Command,
    *,
    runs: int,
    before: Callable[[], object] = lambda: None,
    env: Mapping[str, str] | None = None,
) -> Cost:
    """The medians of `runs`, each after `before`, which is not counted."""
    (cost,) = measure_rounds(job, {client: command}, runs=runs, before=before, env=env)
    return cost


def measure_rounds(
    job: str,
    commands: Mapping[str, Command],
    *,
    runs: int,
    before: Callable[[], object] = lambda: None,
    after: Callable[[str], object] = lambda _client: None,
    env: Mapping[str, str] | None = None,
) -> list[Cost]:
    """Medians over rounds in which every client has its turn, so that a busy minute is everybody's.

    Each round begins with another client: the first may pay for memory that the machine has to find.
    `before` and `after` each run are not counted.
    """
    seen: dict[str, list[tuple[float, float, float, float]]] = {client: [] for client in commands}
    turns = deque(commands)
    for _ in range(runs):
        for client in turns:
            command = commands[client]
            before()
            seen[client].append(run(command() if callable(command) else command, env))
            after(client)
        turns.rotate(-1)
    costs = []
    for client, rows in seen.items():
        columns = list(zip(*rows, strict=True))
        middle = (round(statistics.median(column), 3) for column in columns)
        cost = Cost(job, client, *middle, walls=tuple(round(wall, 2) for wall in columns[0]))
        print(
            f"  {client:<20} {cost.wall:7.2f} s wall  {cost.user:6.2f} user {cost.system:6.2f} system"
            f"  {cost.rss:6.0f} MiB",
            flush=True,
        )
        costs.append(cost)
    return costs


def table(costs: Sequence[Cost], reference: Mapping[str, str]) -> str:
    """Markdown; ratios are to the client that `reference` names for the job."""
    lines = [
        "| job | client | wall s | user s | system s | peak MiB | wall ratio | CPU ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cost in costs:
        base = next((c for c in costs if c.job == cost.job and c.client == reference.get(cost.job)), None)
        ratios = (_ratio(cost.wall, base.wall), _ratio(cost.cpu, base.cpu)) if base else ("", "")
        lines.append(
            f"| {cost.job} | {cost.client} | {cost.wall:.2f} | {cost.user:.2f} | {cost.system:.2f} |"
            f" {cost.rss:.0f} | {ratios[0]} | {ratios[1]} |"
        )
    return "\n".join(lines)


def _ratio(value: float, base: float) -> str:
    """Of what the clock does not see there is none."""
    return f"{value / base:.2f}" if base else ""


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


def goal(what: str, seen: float, limit: float, unit: str) -> str:
    """A line that says whether a figure that was set beforehand was reached."""
    verdict = "met" if seen <= limit else "**not met**"
    return f"- {what}: {seen:.3g} {unit} (goal: at most {limit:g}): {verdict}"


def version_of(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "absent"
    return (done.stdout or done.stderr).splitlines()[0].strip()[:60] if done.returncode == 0 else "absent"


def plot(costs: Sequence[Cost], path: Path, title: str, note: str = "") -> None:
    """Bars of user and system seconds, in groups by job, as SVG. `note` stands below, in small letters."""
    jobs = list(dict.fromkeys(cost.job for cost in costs))
    notes = textwrap.wrap(note, 130)
    height = 20 * len(costs) + 34 * len(jobs) + 76 + 14 * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" role="img">',
        '<g font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="10" y="24" font-size="16" font-weight="bold">{escape(title)}: CPU seconds</text>',
        *_key(170, "user", 0),
        *_key(240, "system", 1),
        '<text x="326" y="48" fill="#555">each job has a scale of its own</text>',
    ]
    y = 54
    for job in jobs:
        rows = [cost for cost in costs if cost.job == job]
        scale = 480 / (max(cost.cpu for cost in rows) or 1)
        y += 20
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{escape(job)}</text>')
        y += 6
        for cost in rows:
            parts += _bar(cost, y, scale)
            y += 20
        y += 8
    for line in notes:
        y += 14
        parts.append(f'<text x="10" y="{y}" font-size="10" fill="#555">{escape(line)}</text>')
    path.write_text("\n".join([*parts, "</g></svg>\n"]))


def _key(x: int, word: str, shade: int) -> list[str]:
    colours = (OUR_COLOURS[shade], COLOURS[shade])
    squares = [
        f'<rect x="{x + 12 * number}" y="38" width="11" height="11" fill="{colour}"/>'
        for number, colour in enumerate(colours)
    ]
    return [*squares, f'<text x="{x + 28}" y="48">{word}</text>']


def _bar(cost: Cost, y: int, scale: float) -> list[str]:
    dark, light = OUR_COLOURS if cost.client == "mrpack" else COLOURS
    user, system = cost.user * scale, cost.system * scale
    return [
        f'<text x="26" y="{y + 12}">{escape(cost.client)}</text>',
        f'<rect x="170" y="{y}" width="{user:.1f}" height="15" fill="{dark}"/>',
        f'<rect x="{170 + user:.1f}" y="{y}" width="{system:.1f}" height="15" fill="{light}"/>',
        f'<text x="{176 + user + system:.1f}" y="{y + 12}">{cost.cpu:.2f}</text>',
    ]


def write(
    name: str,
    folder: Path,
    costs: Sequence[Cost],
    reference: Mapping[str, str],
    facts: Mapping[str, str],
) -> None:
    """NAME.json, NAME.md and NAME.svg into `folder`."""
    save(name, folder, facts, table(costs, reference), {"costs": [asdict(cost) for cost in costs]})
    plot(costs, folder / f"{name}.svg", name, heading(facts))


def save(name: str, folder: Path, facts: Mapping[str, str], body: str, measured: Mapping[str, object]) -> str:
    """`body` below the facts as NAME.md, whose text is the result, and what was `measured` as NAME.json."""
    text = f"{heading(facts)}\n\n{body}\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps({"machine": dict(facts), **measured}, indent=2) + "\n")
    return text


def heading(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def redraw(report: Path) -> None:
    """NAME.svg anew, beside the NAME.json of an earlier run."""
    document = json.loads(report.read_text())
    costs = [Cost(**cost) for cost in document["costs"]]
    plot(costs, report.with_suffix(".svg"), report.stem, heading(document["machine"]))


def show(costs: Sequence[Cost], reference: Mapping[str, str], folder: Path) -> None:
    print("\n" + table(costs, reference))
    print(f"\nwritten to {folder}", file=sys.stderr)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        redraw(Path(argument))
