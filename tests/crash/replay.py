"""Power loss at every moment of an operation, on a model: no name may outlive the bytes it stands for.

The system calls of a real run are written down with strace and played on a disk that keeps only what was
synced. Also of an operation that is repeated after a kill -9, with a gc after it.

    python -m tests.crash.replay [--operation gc] [--every 5]
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.crash.disk_model import Disk
from tests.crash.invariants import REF_NAME
from tests.crash.recording import Recording
from tests.crash.reporting import asked
from tests.crash.strace import record
from tests.crash.world import Operation, World, open_world
from tests.crash.zygote import Zygote

# Nothing depends on the names in these: any state of them is as good as another.
_FREE = frozenset({"ingest", "linked", "bundles"})
# What the kernel moves past a process is not in strace's words.
UNKNOWN = frozenset({"parts"})
# Where a kill leaves something behind that the repetition builds on.
_KILLS = ("mkdir", "rename", "fsync", "unlink")


def lose_power(world: World, zygote: Zygote, operation: Operation, kill: str = "") -> tuple[int, list[str]]:
    """The number of states, and what is wrong in which. `kill` is a call and its number, `rename:2`."""
    world.reset(operation.start)
    disk = _disk(world)
    log = world.log
    logs = []
    if kill:
        call, _, number = kill.partition(":")
        options = ("-e", f"inject={call}:signal=KILL:when={number}")
        killed = record(operation.begin(zygote), log, *options)
        if not killed.was_killed:
            return 0, []
        logs.append(killed.log)
    done = record(operation.begin(zygote), log)
    assert done.ended.code in operation.again, done.ended
    logs.append(done.log)
    if kill:
        logs.append(record(zygote.begin(["gc"]), log).log)
    states, problems = 0, []
    checker = _Checker(world)
    for text in logs:
        for step in Recording(disk, text).steps():
            for state in disk.after_crash(_FREE):
                states += 1
                problems += [f"{operation.name} {kill} after {step}: {item}" for item in checker.check(state)]
    last = checker.names(next(iter(disk.after_crash(_FREE))))
    if done.ended.code == 0 and last != operation.end:
        problems.append(f"{operation.name} {kill}: ended well, but a power loss leaves {sorted(last)}")
    return states, problems


def kills(
    world: World, zygote: Zygote, operation: Operation, *, every: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """The same for a run after a killed one, for every kill that matters."""
    for call in _KILLS:
        number = 1
        while True:
            states, problems = lose_power(world, zygote, operation, f"{call}:{number}")
            if not states:
                break
            yield states, problems
            number += every


def _disk(world: World) -> Disk:
    """The user's own files were just written; what an earlier operation left is on disk."""
    disk = Disk(world.folder)
    if world.home.exists():
        disk.load(world.home, synced=True)
    for name in ("new", "old", "gone"):
        disk.load(world.model(name), synced=False)
    for path in (world.archive, world.folder / "layout", world.out):
        disk.load(path, synced=True)
    disk.root.sync()
    return disk


class _Checker:
    """Hashes each content once: states share most of theirs."""

    def __init__(self, world: World) -> None:
        self._store = f"{world.home.relative_to(world.folder)}/store"
        self._extracted = world.model("new").read_bytes()
        self._digests: dict[int, tuple[bytes, str]] = {}

    def names(self, state: Mapping[str, bytes]) -> set[str]:
        raw = state.get(f"{self._store}/index.json", b'{"manifests":[]}')
        return {entry["annotations"][REF_NAME] for entry in json.loads(raw)["manifests"]}

    def check(self, state: Mapping[str, bytes]) -> Iterator[str]:
        if "out/m.tar" in state:
            yield from self._archive(state["out/m.tar"])
        if state.get("out/m/new.gguf", self._extracted) != self._extracted:
            yield "a torn file in the user's folder"
        raw = state.get(f"{self._store}/index.json")
        if raw is None:
            return
        if state.get(f"{self._store}/oci-layout") != b'{"imageLayoutVersion":"1.0.0"}':
            yield "index.json without an oci-layout"
        try:
            entries = json.loads(raw)["manifests"]
        except ValueError:
            yield f"a torn index.json of {len(raw)} bytes"
            return
        for entry in entries:
            yield from (f"{entry['annotations'][REF_NAME]}: {item}" for item in self._closure(state, entry))

    def _archive(self, content: bytes) -> Iterator[str]:
        """What `export` gave its name to is complete."""
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
                found = {f"{self._store}/{name}": file.read() for name, file in files.items() if file}
            entries = json.loads(found[f"{self._store}/index.json"])["manifests"]
        except (tarfile.TarError, LookupError, ValueError) as error:
            yield f"a torn archive of {len(content)} bytes: {error!r}"
            return
        for entry in entries:
            yield from (f"in the archive: {item}" for item in self._closure(found, entry))

    def _closure(self, state: Mapping[str, bytes], descriptor: dict[str, Any]) -> Iterator[str]:
        digest = descriptor["digest"]
        content = state.get(f"{self._store}/blobs/{digest.replace(':', '/')}")
        if content is None:
            yield f"{digest} is gone"
        elif self._digest(content) != digest:
            yield f"{digest} has lost bytes"
        elif "manifest" in descriptor["mediaType"]:
            document = json.loads(content)
            for child in (document["config"], *document["layers"]):
                yield from self._closure(state, child)

    def _digest(self, content: bytes) -> str:
        known = self._digests.get(hash(content))
        if known is None or known[0] != content:
            known = (content, f"sha256:{hashlib.sha256(content).hexdigest()}")
            self._digests[hash(content)] = known
        return known[1]


def main(arguments: Sequence[str] | None = None) -> int:
    options = asked(__doc__, arguments)
    total = failures = 0
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        for name, operation in world.operations().items():
            if name in UNKNOWN or (options.operation and name not in options.operation):
                continue
            repeated = kills(world, zygote, operation, every=options.every)
            runs = [lose_power(world, zygote, operation), *repeated]
            states = sum(count for count, _ in runs)
            problems = list(dict.fromkeys(problem for _, found in runs for problem in found))
            for problem in problems:
                print(problem)
            total += states
            failures += len(problems)
            print(f"{name}: {len(runs)} recordings, {states} states after a power loss", flush=True)
    print(f"{total} states, {failures} problems")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
