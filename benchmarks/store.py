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
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from measure import machine, run

COMMANDS = {
    "version": ("version",),
    "list, the first": ("list",),
    "list": ("list",),
    "list --json": ("list", "--json"),
    "resolve": ("resolve", "docker.io/team/m7:v1"),
    "df": ("df",),
    "gc --dry-run": ("gc", "--dry-run"),
    "gc": ("gc",),
}
# Those that leave the store as it was are run so often; the median counts.
RUNS = 3
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


def measure(home: Path, models: int) -> Iterator[dict[str, object]]:
    """Of each command: `wall`, `user` and `system` in seconds, `rss` in MiB, and system calls."""
    env = {"MRPACK_HOME": str(home)}
    for name, arguments in COMMANDS.items():
        command = [sys.executable, "-m", "mrpack", *arguments]
        changes = name in {"list, the first", "gc"}
        calls = _system_calls(command, env, home if changes else None)
        costs = [run(command, env) for _ in range(1 if changes else RUNS)]
        wall, user, system, rss = map(statistics.median, zip(*costs, strict=True))
        row = {"models": models, "command": name, "wall": wall, "user": user, "system": system, "rss": rss}
        yield {**row, "calls": calls}


def _system_calls(command: Sequence[str], env: dict[str, str], spoiled: Path | None) -> int | None:
    """None without strace. A command that changes the store (`spoiled`) leaves it as it was."""
    if shutil.which("strace") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        if spoiled is not None:
            shutil.copytree(spoiled, Path(folder) / "home")
            env = {"MRPACK_HOME": str(Path(folder) / "home")}
        counts = Path(folder) / "counts"
        traced = ["strace", "-f", "-c", "-o", str(counts), *command]
        subprocess.run(traced, env={**os.environ, **env}, check=True, capture_output=True)
        (total,) = re.findall(r"^100\.00\s+\S+\s+\S*\s+(\d+).* total$", counts.read_text(), re.MULTILINE)
        return int(total)


def table(rows: Sequence[dict[str, object]]) -> str:
    """Markdown. Calls and CPU a model are those above `version`, which looks at no store."""
    lines = [
        "| models | command | wall s | CPU s | peak MiB | system calls | a model |",
        "|---|---|---|---|---|---|---|",
    ]
    bare = {row["models"]: row["calls"] for row in rows if row["command"] == "version"}
    for row in rows:
        cpu = row["user"] + row["system"]  # type: ignore[operator]  # numbers, by `measure`
        calls, models = row["calls"], row["models"]
        each = "" if calls is None else f"{(calls - bare[models]) / models:.2f}"  # type: ignore[operator]
        lines.append(
            f"| {models} | {row['command']} | {row['wall']:.2f} | {cpu:.2f} | {row['rss']:.0f} |"
            f" {calls if calls is not None else ''} | {each} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[1_000, 10_000])
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for models in options.models:
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder), models)
            rows += measure(Path(folder), models)
    facts = machine()
    text = f"{', '.join(f'{key} {value}' for key, value in facts.items())}\n\n{table(rows)}\n"
    print(text)
    (RESULTS / "store.md").write_text(text)
    (RESULTS / "store.json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
