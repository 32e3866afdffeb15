"""What the gateway costs: the same load on an engine, through the gateway, and through other proxies.

    python benchmarks/gateway.py [--rounds 3] [--clients 1,10,100,1000] [--out docs/benchmarks]

The engine (benchmarks/fast_engine.py) does nothing but answer, so that every difference is the proxy's. In
each round every way has its turn, so that a busy minute is everybody's. CPU and memory are those of the
proxy's process alone. One proxy passes bytes and looks at nothing: below it nothing can be. The other needs
the dependency group `benchmark`; without it, it is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from fast_loop import run
from http_load import Connect, allow_files, ask, stream, to_port, to_socket
from measure import machine

from mrpack_runtime.bench.chart import Panel, svg

HERE = Path(__file__).parent
DIRECT, BYTES, GATEWAY, OTHER = "direct", "bytes only", "mrpack", "starlette + httpx"
# A thousand clients took it longer than the minutes that the run had.
OTHER_LIMIT = 100
REQUESTS = 1000
CHUNKS = 20_000
# One stream takes a tenth of a second: too short to trust.
STREAMS_OF_ONE_CLIENT = 7
# Streams as of models: slow ones, held open together.
HELD_CHUNKS, HELD_PAUSE_S = 20, 0.05


@dataclass
class Way:
    """A way to the engine; `pid` of the proxy on it."""

    name: str
    connect: Connect
    pid: int | None = None


@dataclass
class Cell:
    """What was measured for one way and one number of clients, a value a round or a stream."""

    p50_ms: list[float] = field(default_factory=list)
    p95_ms: list[float] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)
    chunks_per_s: list[float] = field(default_factory=list)
    cpu_us_per_request: list[float] = field(default_factory=list)
    cpu_us_per_chunk: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        found = {name: values for name, values in vars(self).items() if values}
        return {name: round(statistics.median(values), 3) for name, values in found.items()}


def cpu_s(pid: int | None) -> float:
    if pid is None:
        return 0.0
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


class Watch:
    """The most memory that a process had within a block, in MiB."""

    def __init__(self, pid: int) -> None:
        self.most = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, rss_mib(self._pid))


@contextlib.contextmanager
def program(*command: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Its pid, and the line of JSON that it prints when it listens."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def ways() -> Iterator[list[Way]]:
    folder = tempfile.mkdtemp(prefix="b")
    try:
        with contextlib.ExitStack() as stack:
            pid, where = stack.enter_context(program(str(HERE / "fast_gateway.py"), folder))
            bytes_pid, passing = stack.enter_context(program(str(HERE / "fast_bytes.py"), where["socket"]))
            found = [
                Way(DIRECT, to_socket(where["socket"])),
                Way(BYTES, to_port(passing["port"]), bytes_pid),
                Way(GATEWAY, to_port(where["port"]), pid),
            ]
            if all(find_spec(name) for name in ("starlette", "uvicorn", "httpx")):
                pid, other = stack.enter_context(program(str(HERE / "fast_proxy.py"), where["socket"]))
                found.append(Way(OTHER, to_port(other["port"]), pid))
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def measure_once(way: Way, clients: int, cell: Cell) -> None:
    each = max(2, REQUESTS // clients)
    before = cpu_s(way.pid)
    asked = await ask(way.connect, clients, each)
    times_ms = sorted(time * 1000 for time in asked.times_s)
    cell.p50_ms.append(statistics.median(times_ms))
    cell.p95_ms.append(times_ms[int(len(times_ms) * 0.95) - 1])
    cell.requests_per_s.append(len(times_ms) / asked.wall_s)
    between = cpu_s(way.pid)
    chunks = CHUNKS // clients
    streams = STREAMS_OF_ONE_CLIENT if clients == 1 else 1
    cell.chunks_per_s += [CHUNKS / await stream(way.connect, clients, chunks) for _ in range(streams)]
    if way.pid is not None:
        cell.cpu_us_per_request.append((between - before) / len(times_ms) * 1e6)
        cell.cpu_us_per_chunk.append((cpu_s(way.pid) - between) / CHUNKS / streams * 1e6)
        with Watch(way.pid) as watch:
            await stream(way.connect, clients, HELD_CHUNKS, HELD_PAUSE_S)
        cell.rss_mib.append(watch.most)


async def measure(rounds: int, counts: list[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    with ways() as found:
        for way in found:
            await ask(way.connect, 1, 100)
        for clients in counts:
            able = [way for way in found if way.name != OTHER or clients <= OTHER_LIMIT]
            cells = {way.name: Cell() for way in able}
            for _ in range(rounds):
                for way in able:
                    await measure_once(way, clients, cells[way.name])
            result[str(clients)] = {name: cell.medians() for name, cell in cells.items()}
            print(f"{clients} clients done", file=sys.stderr)
    return result


def table(result: dict[str, Any]) -> str:
    header = (
        *("clients", "way", "p50 ms", "p95 ms", "requests/s", "CPU µs a request"),
        *("chunks/s", "of direct", "CPU µs a chunk", "memory MiB"),
    )
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for clients, cells in result.items():
        for name, cell in cells.items():
            share = cell["chunks_per_s"] / cells[DIRECT]["chunks_per_s"]
            own = [f"{cell[key]:.{digits}f}" if key in cell else "" for key, digits in OWN.items()]
            lines.append(
                f"| {clients} | {name} | {cell['p50_ms']:.2f} | {cell['p95_ms']:.2f} |"
                f" {cell['requests_per_s']:,.0f} | {own[0]} | {cell['chunks_per_s']:,.0f} | {share:.0%} |"
                f" {own[1]} | {own[2]} |"
            )
    return "\n".join(lines)


OWN = {"cpu_us_per_request": 0, "cpu_us_per_chunk": 2, "rss_mib": 0}


def goals(result: dict[str, Any]) -> list[str]:
    """The figures that were set beforehand, and what came out."""
    lines = []
    if one := result.get("1"):
        added = one[GATEWAY]["p50_ms"] - one[DIRECT]["p50_ms"]
        share = one[GATEWAY]["chunks_per_s"] / one[DIRECT]["chunks_per_s"]
        least = one[BYTES]["p50_ms"] - one[DIRECT]["p50_ms"]
        lines.append(
            f"added latency of a request: {added:.2f} ms (goal: at most 0.4); passing bytes: {least:.2f}"
        )
        lines.append(f"stream of {CHUNKS:,} chunks: {share:.0%} of the direct rate (goal: at least 85 %)")
    if hundred := result.get("100"):
        lines.append(f"memory with 100 streams: {hundred[GATEWAY]['rss_mib']:.0f} MiB (goal: at most 100)")
    if "1000" in result:
        lines.append("1,000 streams at once: all whole")  # else the load would have ended the program
    return lines


def panels(result: dict[str, Any]) -> list[Panel]:
    names = list(next(iter(result.values())))

    def lines(key: str, names: list[str]) -> dict[str, list[float | None]]:
        return {name: [cells.get(name, {}).get(key) for cells in result.values()] for name in names}

    places = [f"{int(clients):,}" for clients in result]
    titles = {
        "requests_per_s": ("Requests a second", names),
        "chunks_per_s": ("Chunks of streams a second", names),
        "rss_mib": ("Memory with slow streams, MiB", names[1:]),
    }
    return [
        Panel(title=title, x_label="clients", places=places, lines=lines(key, shown))
        for key, (title, shown) in titles.items()
    ]


def versions() -> dict[str, str]:
    found = {}
    for name in ("uvloop", "starlette", "uvicorn", "httptools", "httpx"):
        with contextlib.suppress(ModuleNotFoundError):
            found[name] = version(name)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", default="1,10,100,1000")
    parser.add_argument(
        "--out", type=Path, help="write gateway.json, gateway.md and gateway.svg into this folder"
    )
    options = parser.parse_args()
    allow_files()
    facts = machine() | versions()
    counts = [int(count) for count in options.clients.split(",")]
    result = run(measure(options.rounds, counts))
    heading = ", ".join(f"{key} {value}" for key, value in facts.items()) + f", {options.rounds} rounds"
    text = "\n\n".join([heading, table(result), "\n".join(f"- {line}" for line in goals(result))])
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        written = {"machine": facts, "rounds": options.rounds, "clients": result}
        (options.out / "gateway.json").write_text(json.dumps(written, indent=2) + "\n")
        (options.out / "gateway.md").write_text(text + "\n")
        (options.out / "gateway.svg").write_text(svg("The gateway beside others", panels(result), heading))


if __name__ == "__main__":
    main()
