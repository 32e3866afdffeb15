"""Package, push and pull of one large model, and of many files, beside openssl, curl, skopeo and oras-py.

    python benchmarks/transfer.py              2 GiB, three runs each
    python benchmarks/transfer.py --mib 256 --runs 1

Needs docker-registry, skopeo, curl and openssl on PATH, and oras in this Python. The registry is the real
Distribution on loopback. Every push goes to an empty repository, every pull to an empty folder; peak memory
of each client is shown, and mrpack's has to stay under 64 MiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import urllib.request
from functools import partial
from itertools import count
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.measure import Cost, measure, measure_rounds, version_of, write
from mrpack.content.copy import read_document
from mrpack.content.memory import MemoryTarget
from mrpack.digest import BytesSource, Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.registry import RegistrySession, RegistrySettings, RegistryTarget
from tests.fakes.certificates import make_authority
from tests.fakes.distribution import Distribution
from tests.fakes.raw_gguf import STRING, gguf, pair, tensor

MRPACK = [sys.executable, "-m", "mrpack"]
RSS_LIMIT_MIB = 64
REFERENCES = {"package": "openssl dgst", "push": "curl -T"}

ORAS = """
import sys, oras.client
client = oras.client.OrasClient(insecure=True)
verb, name, path = sys.argv[1:]
if verb == "push":
    files = [path + ":application/vnd.docker.ai.gguf.v3"]
    client.push(target=name, files=files, disable_path_validation=True, do_chunked=True)
else:
    client.pull(target=name, outdir=path)
"""


def make_model(path: Path, mib: int) -> None:
    """A valid GGUF with one tensor of random bytes."""
    size = mib * 1024 * 1024
    header = gguf([pair("general.architecture", STRING, "llama")], [tensor("blk.0.weight", [size], 24)])
    with path.open("wb") as file:
        file.write(header)
        for _ in range(mib):
            file.write(os.urandom(1024 * 1024))
        file.truncate((file.tell() + 31) // 32 * 32)


def upload_address(registry: str, repository: str, digest: str) -> str:
    """Where curl may PUT a blob."""
    request = urllib.request.Request(f"http://{registry}/v2/{repository}/blobs/uploads/", method="POST")
    with urllib.request.urlopen(request) as answer:
        location = answer.headers["Location"]
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


class Bench:
    def __init__(self, folder: Path, registry: str, mib: int, runs: int) -> None:
        self.folder = folder
        self.registry = registry
        self.runs = runs
        self.model = folder / "model.gguf"
        self.home = folder / "home"
        self.out = folder / "out"
        self.fresh = (f"bench/r{number}" for number in count())
        self.costs: list[Cost] = []
        self.ca_file: Path | None = None
        make_model(self.model, mib)

    def clean(self) -> None:
        for path in (self.out, self.folder / "home2"):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()

    def add(self, job: str, client: str, command: list[str], **more: object) -> None:
        self.costs.append(measure(job, client, command, runs=self.runs, **more))  # type: ignore[arg-type]

    def package(self) -> None:
        print("package")
        self.add("package", "openssl dgst", ["openssl", "dgst", "-sha256", str(self.model)])
        self.add(
            "package",
            "mrpack",
            [*MRPACK, "package", str(self.model), "bench:v1", "-q"],
            before=lambda: shutil.rmtree(self.home, ignore_errors=True),
            env={"MRPACK_HOME": str(self.home)},
        )

    def push(self) -> None:
        print("push")
        home = {"MRPACK_HOME": str(self.home)}
        (blob,) = [path for path in self.home.rglob("blobs/sha256/*") if path.stat().st_size > 1024 * 1024]
        for client in ("curl -T", "mrpack", "skopeo", "oras-py"):
            # Each run needs a repository that has nothing yet, so the command is made anew.
            seen = []
            print(f"  {client} …", end="\r")
            for _ in range(self.runs):
                repository = next(self.fresh)
                name = f"{self.registry}/{repository}:v1"
                digest = f"sha256:{blob.name}"
                command = {
                    "curl -T": lambda r=repository, d=digest: [
                        *("curl", "-sSf", "-H", "Content-Type: application/octet-stream", "-T", str(blob)),
                        upload_address(self.registry, r, d),
                    ],
                    "mrpack": lambda n=name: [*MRPACK, "push", "bench:v1", n, "-q"],
                    "skopeo": lambda n=name: [
                        *("skopeo", "copy", "-q", "--dest-tls-verify=false"),
                        *(f"oci:{self.home}/store:docker.io/ai/bench:v1", f"docker://{n}"),
                    ],
                    "oras-py": lambda n=name: [sys.executable, "-c", ORAS, "push", n, str(self.model)],
                }[client]()
                # skopeo remembers where blobs are and would mount them.
                seen.append(measure("push", client, command, runs=1, env={**home, "HOME": str(self.out)}))
                self.clean()
            best = sorted(seen, key=lambda cost: cost.cpu)[len(seen) // 2]
            self.costs.append(best)

    def pull(self) -> None:
        name = f"{self.registry}/bench/pull:v1"
        home = {"MRPACK_HOME": str(self.home), "HOME": str(self.out)}
        measure("prepare", "mrpack", [*MRPACK, "push", "bench:v1", name, "-q"], runs=1, env=home)
        self.pull_all("pull", name, "http", [], ["--src-tls-verify=false"])

    def pull_all(self, job: str, name: str, scheme: str, ours: list[str], skopeos: list[str]) -> None:
        """`ours`, `skopeos`: options. curl fetches every layer, in one process, and checks nothing."""
        print(job)
        base, _, repository = name.removesuffix(":v1").partition("/")
        with self.session() as session:
            target = RegistryTarget(session, base, repository)
            _, document = read_document(target, target.resolve("v1"))
        assert isinstance(document, Manifest)
        addresses = [f"{scheme}://{base}/v2/{repository}/blobs/{layer.digest}" for layer in document.layers]
        curl = ["curl", "-sSfk"]
        for number, address in enumerate(addresses):
            curl += ["-o", str(self.out / f"blob{number}"), address]
        commands = {
            "curl": curl,
            "mrpack": [*MRPACK, "pull", name, "-q", *ours],
            "skopeo": [
                *("skopeo", "--insecure-policy", "copy", "-q", *skopeos, f"docker://{name}"),
                f"oci:{self.out}/layout:v1",
            ],
        }
        if scheme == "http":
            commands["oras-py"] = [sys.executable, "-c", ORAS, "pull", name, str(self.out)]
        env = {"MRPACK_HOME": str(self.folder / "home2"), "HOME": str(self.out)}
        self.costs += measure_rounds(job, commands, runs=self.runs, before=self.clean, env=env)

    def session(self) -> RegistrySession:
        return RegistrySession(RegistrySettings(ca_file=self.ca_file))

    def pull_by_tls(self) -> None:
        """From a second registry over the same storage."""
        authority = make_authority(self.folder)
        self.ca_file = authority.ca_file
        tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
        with Distribution(self.folder / "registry", {"http": {"tls": tls}}) as registry:
            ours = ["--ca-file", str(authority.ca_file)]
            self.pull_all(
                "pull, TLS", f"{registry.name}/bench/pull:v1", "https", ours, ["--src-tls-verify=false"]
            )
        self.ca_file = None

    def pull_files(self, count: int, mib: int) -> None:
        """`count` layers of random bytes, `mib` in all."""
        memory = MemoryTarget()
        config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", b'{"config":{}}')
        size = mib * 1024 * 1024 // count
        with self.session() as session:
            target = RegistryTarget(session, self.registry, "bench/files")
            target.push(config, lambda offset: memory.fetch(config, offset))
            layers = []
            for number in range(count):
                content = os.urandom(size)
                layer = Descriptor(
                    media_type="application/vnd.docker.ai.gguf.v3",
                    digest=Digest.of(content),
                    size=size,
                    annotations={"org.opencontainers.image.title": f"file{number}"},
                )
                target.push(layer, partial(_from, content))
                layers.append(layer)
            manifest = Manifest.build(config=config, layers=layers)
            target.push_manifest(manifest.descriptor, manifest.raw, "v1")
        name = f"{self.registry}/bench/files:v1"
        self.pull_all(f"pull, {count} files", name, "http", [], ["--src-tls-verify=false"])


def _from(content: bytes, offset: int) -> BytesSource:
    return BytesSource(content[offset:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=2048, help="size of the model")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--files", type=int, default=200, help="of half that size in all")
    parser.add_argument("--only-pull", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mrpack-bench-") as name:
        folder = Path(name)
        with Distribution(folder / "registry") as registry:
            bench = Bench(folder, registry.name, options.mib, options.runs)
            bench.package()
            if not options.only_pull:
                bench.push()
            bench.pull()
            bench.pull_files(options.files, options.mib // 2)
            bench.pull_by_tls()
    versions = {
        "curl": version_of(["curl", "--version"]),
        "skopeo": version_of(["skopeo", "--version"]),
        "size": f"{options.mib} MiB",
    }
    references = {cost.job: "curl" for cost in bench.costs} | REFERENCES
    write("transfer", options.out, bench.costs, references, versions)
    large = [cost for cost in bench.costs if cost.client == "mrpack" and cost.rss > RSS_LIMIT_MIB]
    for cost in large:
        print(f"{cost.job}: mrpack took {cost.rss:.0f} MiB, more than {RSS_LIMIT_MIB}", file=sys.stderr)
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
