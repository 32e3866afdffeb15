"""What a store with thousands of models costs: seconds, and system calls, which no other load disturbs.

python benchmarks/store.py [--models 1000 10000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measure import goal, machine, run, save

# What looks at no store: what the others cost above it is the store.
BARE = "version"
FIRST = "list, the first"
COMMANDS = {
    BARE: ("version",),
    FIRST: ("list",),
    "list": ("list",),
    "list --json": ("list", "--json"),
    "resolve": ("resolve", "docker.io/team/m7:v1"),
    "df": ("df",),
    "gc --dry-run": ("gc", "--dry-run"),
    "gc": ("gc",),
}
ROUNDS = 5
LIST_GOAL_S = 0.5
RESULTS = Path(__file__).parents[1] / "docs" / "benchmarks"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.docker.ai.model.config.v0.1+json"
_GGUF = "application/vnd.docker.ai.gguf.v3"


def write_store(home: Path, models: int) -> None:
    """Models of the Docker family with weights of a few bytes; every tenth one has lost its name."""
    blobs = home / "store" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    entries = []
    for number in range(models + models // 10):
        weights = _put(blobs, b"GGUF %d" % number, _GGUF)
        config = _put(
            blobs,
            _encoded(
                {
                    "config": {"format": "gguf", "parameters": "1B", "quantization": "Q4_K_M"},
                    "descriptor": {"created": "2026-01-02T03:04:05Z"},
                    "rootfs": {"type": "rootfs", "diff_ids": [weights["digest"]]},
                }
            ),
            _CONFIG,
        )
        document = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [weights]}
        manifest = _put(blobs, _encoded(document), _MANIFEST)
        if number < models:
            name = {"org.opencontainers.image.ref.name": f"docker.io/team/m{number}:v1"}
            entries.append({**manifest, "annotations": name})
    store = home / "store"
    (store / "ingest").mkdir()
    (store / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')
    (store / "index.json").write_bytes(_encoded({"schemaVersion": 2, "manifests": entries}))


def _put(blobs: Path, content: bytes, media_type: str) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    (blobs / digest).chmod(0o444)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Row:
    """Medians; `wall` and `cpu` in seconds, `rss` in MiB. `calls`: system calls, None without strace."""

    models: int
    command: str
    wall: float
    cpu: float
    rss: float
    calls: int | None


def measure(home: Path, models: int) -> list[Row]:
    """In rounds in which each has its turn, but for `gc`, which comes once, at the end."""
    env = {**os.environ, "MRPACK_HOME": str(home)}
    calls = {name: _system_calls(name, home, env) for name in COMMANDS}
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in COMMANDS}
    for name in [*(name for name in COMMANDS if name != "gc")] * ROUNDS + ["gc"]:
        _forget(name, home)
        wall, user, system, rss = run(_command(name), env)
        seen[name].append((wall, user + system, rss))
    return [
        Row(models, name, *map(statistics.median, zip(*costs, strict=True)), calls[name])
        for name, costs in seen.items()
    ]


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "mrpack", *COMMANDS[name]]


def _forget(name: str, home: Path) -> None:
    if name == FIRST:
        (home / "store" / ".summaries.json").unlink(missing_ok=True)


def _system_calls(name: str, home: Path, env: Mapping[str, str]) -> int | None:
    """None without strace. Those of `gc` are counted on a copy."""
    if shutil.which("strace") is None:
        return None
    _forget(name, home)
    with tempfile.TemporaryDirectory(dir=home.parent) as folder:
        if name == "gc":
            shutil.copytree(home, Path(folder, "home"))
            env = {**env, "MRPACK_HOME": str(Path(folder, "home"))}
        counts = Path(folder, "counts")
        traced = ["strace", "-f", "-c", "-o", str(counts), *_command(name)]
        subprocess.run(traced, env=env, check=True, capture_output=True)
        (total,) = re.findall(r"^100\.00\s+\S+\s+\S*\s+(\d+).* total$", counts.read_text(), re.MULTILINE)
        return int(total)


def table(rows: Sequence[Row]) -> str:
    """Markdown; the last two columns are above BARE, for each model."""
    lines = [
        "| models | command | wall s | CPU s | peak MiB | system calls | CPU µs a model | calls a model |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        calls, each = _above(rows, row)
        lines.append(
            f"| {row.models} | {row.command} | {row.wall:.2f} | {row.cpu:.2f} | {row.rss:.0f} |"
            f" {row.calls or ''} | {1e6 * each / row.models:.0f} |"
            f" {'' if calls is None else f'{calls / row.models:.2f}'} |"
        )
    return "\n".join(lines)


def _above(rows: Sequence[Row], row: Row) -> tuple[int | None, float]:
    """System calls, and CPU seconds."""
    bare = next(other for other in rows if (other.models, other.command) == (row.models, BARE))
    calls = None if row.calls is None or bare.calls is None else row.calls - bare.calls
    return calls, row.cpu - bare.cpu


def goals(rows: Sequence[Row]) -> str:
    """Of the largest store; that `gc` is linear shows beside the smallest."""
    most = max(row.models for row in rows)
    lines = [
        goal(f"`list` of {most:,} models", _above(rows, row)[1], LIST_GOAL_S, "s of CPU above `version`")
        for row in rows
        if (row.models, row.command) == (most, "list")
    ]
    each = [
        f"{calls / row.models:.2f} of {row.models:,}"
        for row in rows
        if row.command == "gc" and (calls := _above(rows, row)[0]) is not None
    ]
    return "\n".join([*lines, f"- system calls of `gc` a model: {', '.join(each)} (goal: linear)"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of store.md and store.json")
    options = parser.parse_args()
    rows: list[Row] = []
    for models in options.models:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder, "home"), models)
            rows += measure(Path(folder, "home"), models)
    measured = {"rows": [asdict(row) for row in rows]}
    print(save("store", options.out, machine(), f"{table(rows)}\n\n{goals(rows)}", measured))


if __name__ == "__main__":
    main()
