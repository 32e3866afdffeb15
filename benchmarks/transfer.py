"""Package, push and pull of one large model and of one in many files, by plain HTTP and by TLS.

    python benchmarks/transfer.py              2 GiB, and 1 GiB in 200 files, three rounds
    python benchmarks/transfer.py --small      a few MiB and one round, to see that it runs

Beside curl, which checks nothing, skopeo, oras-py, and modelpack-client; openssl for the hash. The registry
is the real Distribution on loopback. Every client has its turn in every round, pushes to a repository of its
own and pulls to an empty folder, and what arrived is counted. mrpack's memory has to stay under 64 MiB.

Needs docker-registry, skopeo, curl and openssl on PATH, and oras and modelpack-client in this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from benchmarks.clients import CLIENTS, Model, Place, layers_of
from benchmarks.measure import Cost, machine, measure_rounds, run, show, version_of, write
from tests.fakes.certificates import make_authority
from tests.fakes.distribution import Distribution
from tests.fakes.raw_gguf import STRING, gguf, pair, tensor

MRPACK = [sys.executable, "-m", "mrpack"]
MIB = 1024 * 1024
RSS_LIMIT_MIB = 64


def write_one_file(folder: Path, size: int) -> None:
    """A valid GGUF with one tensor of random bytes."""
    folder.mkdir()
    header = gguf([pair("general.architecture", STRING, "llama")], [tensor("blk.0.weight", [size], 24)])
    with (folder / "model.gguf").open("wb") as file:
        file.write(header)
        _write_random(file, size)
        file.truncate((file.tell() + 31) // 32 * 32)


def write_many_files(folder: Path, number: int, size: int) -> None:
    """A Safetensors model of `number` files, shards of random bytes but for two."""
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures":["LlamaForCausalLM"],"model_type":"llama"}')
    shards = number - 2
    each = size // shards // 2 * 2
    names = {f"t{i}": f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": each * shards}, "weight_map": names})
    )
    for tensor_name, name in names.items():
        entry = {"dtype": "BF16", "shape": [each // 2], "data_offsets": [0, each]}
        header = json.dumps({tensor_name: entry}).encode()
        header += b" " * (-len(header) % 8)
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            _write_random(file, each)


def _write_random(file, size: int) -> None:
    while size:
        block = os.urandom(min(size, MIB))
        file.write(block)
        size -= len(block)


class Bench:
    """Runs jobs, and keeps what they cost; `save` is called after each, for runs that are cut short."""

    def __init__(self, folder: Path, runs: int, save: Callable[[list[Cost]], None]) -> None:
        self.folder = folder
        self.runs = runs
        self.costs: list[Cost] = []
        self._save = save
        self._out = folder / "out"
        self._home = folder / "home"
        self._fresh = (f"bench/r{number}" for number in count())
        # As an installed mrpack: compiled once.
        self._env = {
            "MRPACK_HOME": str(self._home),
            "HOME": str(self._out),
            "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._clean()

    def _clean(self) -> None:
        """Also of what skopeo remembers: it would mount what it pushed before. And nobody else's writes."""
        for path in (self._out, self.folder / "pulled"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        os.sync()

    def _ours(self, *arguments: str) -> str:
        command, env = [*MRPACK, *arguments], {**os.environ, **self._env}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mrpack {' '.join(arguments)}\n{done.stderr}")
        return done.stdout

    def _measure(self, job: str, commands, env: dict[str, str] | None = None, **more) -> None:
        print(job)
        env = {**self._env, **(env or {})}
        self.costs += measure_rounds(job, commands, runs=self.runs, env=env, **more)
        self._save(self.costs)

    def package(self, job: str, files: Path) -> None:
        """Of one file, into an empty store."""
        home = self.folder / "packaged"

        def empty() -> None:
            shutil.rmtree(home, ignore_errors=True)
            self._clean()

        commands = {
            "openssl dgst": ["openssl", "dgst", "-sha256", str(files)],
            "mrpack": [*MRPACK, "package", str(files), "bench:v1", "-q"],
        }
        run(commands["mrpack"], {**os.environ, **self._env, "MRPACK_HOME": str(home)})
        self._measure(job, commands, {"MRPACK_HOME": str(home)}, before=empty)
        shutil.rmtree(home)

    def model(self, name: str, source: Path, folder: Path) -> Model:
        """Packaged twice over the same blobs: as we do it, and for clients that know ModelPack alone."""
        self._ours("package", str(source), f"{name}:v1", "-q")
        self._ours("package", str(source), f"{name}-cncf:v1", "--format", "cncf", "-q")
        return Model(
            name=f"{name}:v1",
            foreign=f"{name}-cncf:v1",
            folder=folder,
            layout=f"oci:{self._home}/store:docker.io/ai/{name}:v1",
            blobs=layers_of(self._ours("inspect", f"{name}:v1", "--json"), folder),
        )

    def push(self, job: str, model: Model, place: Callable[[str], Place]) -> None:
        commands = {
            name: partial(lambda client: client.push(model, place(next(self._fresh))), client)
            for name, client in CLIENTS.items()
        }
        self._measure(job, commands, before=self._clean)

    def offer(self, model: Model, registry: str) -> None:
        """What `pull` pulls."""
        name = model.name.removesuffix(":v1")
        self._ours("push", model.name, f"{registry}/bench/{name}:v1", "-q")
        self._ours("push", model.foreign, f"{registry}/bench/{name}-cncf:v1", "-q")

    def pull(self, job: str, model: Model, place: Callable[[str], Place]) -> None:
        def command(client: str) -> list[str]:
            row = CLIENTS[client]
            name = (model.foreign if row.wants_modelpack else model.name).removesuffix(":v1")
            return row.pull(model, place(f"bench/{name}"), self._out)

        def count_bytes(client: str) -> None:
            root = self.folder / "pulled" if client == "mrpack" else self._out
            arrived = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            if arrived < model.size:
                raise SystemExit(f"{job}: {client} pulled {arrived} bytes of {model.size}")

        self._measure(
            job,
            {client: partial(command, client) for client in CLIENTS},
            {"MRPACK_HOME": str(self.folder / "pulled")},
            before=self._clean,
            after=count_bytes,
        )


def transfers(bench: Bench, mib: int, files: int, folder: Path, only: str) -> None:
    one, many = folder / "one", folder / "many"
    write_one_file(one, mib * MIB)
    write_many_files(many, files, mib * MIB // 2)
    if only in "package":
        bench.package("package", one / "model.gguf")
    models = {
        "": bench.model("one", one / "model.gguf", one),
        f", {files} files": bench.model("many", many, many),
    }
    authority = make_authority(folder)
    # skopeo takes every *.crt of a folder.
    trusted = folder / "trusted" / "ca.crt"
    trusted.parent.mkdir()
    shutil.copy(authority.ca_file, trusted)
    tls = {"http": {"tls": {"certificate": str(authority.certificate), "key": str(authority.key)}}}
    # Two registries over one storage.
    with Distribution(folder / "registry") as plain, Distribution(folder / "registry", tls) as secure:
        for model in models.values():
            bench.offer(model, plain.name)
        ways = (("", plain, None), (", TLS", secure, trusted))
        for verb, job in (("pull", bench.pull), ("push", bench.push)):
            for way, registry, ca_file in ways:
                for which, model in models.items():
                    name = f"{verb}{which}{way}"
                    if only in name:
                        job(name, model, partial(Place, registry.name, ca_file=ca_file))


def references(costs: list[Cost]) -> dict[str, str]:
    """Whom the others are compared with, by job."""
    return {cost.job: cost.client for cost in costs if cost.client in {"curl", "openssl dgst"}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048, help="size of the model")
    parser.add_argument("--runs", type=int, default=3, help="rounds")
    parser.add_argument("--files", type=int, default=200, help="of the other model, half as large")
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs with this in their name")
    parser.add_argument("--small", action="store_true", help="4 MiB, 5 files, one round")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks")
    options = parser.parse_args()
    if options.small:
        options.mib, options.files, options.runs = 4, 5, 1
    facts = {
        **machine(),
        "curl": version_of(["curl", "--version"]).removeprefix("curl ").partition(" ")[0],
        "skopeo": version_of(["skopeo", "--version"]).removeprefix("skopeo version "),
        "oras-py": version("oras"),
        "modelpack-client": version("modelpack-client"),
        "openssl": version_of(["openssl", "version"]).removeprefix("OpenSSL ").partition(" ")[0],
        "size": f"{options.mib} MiB",
        "rounds": str(options.runs),
    }

    def save(costs: list[Cost]) -> None:
        write("transfer", options.out, costs, references(costs), facts)

    with tempfile.TemporaryDirectory(prefix="mrpack-bench-") as name:
        bench = Bench(Path(name), options.runs, save)
        transfers(bench, options.mib, options.files, Path(name), options.only)
    show(bench.costs, references(bench.costs), options.out)
    large = [cost for cost in bench.costs if cost.client == "mrpack" and cost.rss > RSS_LIMIT_MIB]
    for cost in large:
        print(f"{cost.job}: mrpack took {cost.rss:.0f} MiB, more than {RSS_LIMIT_MIB}", file=sys.stderr)
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
