"""A verified download with each HTTP client that could carry mrpack's transfers.

    python benchmarks/transport.py             1 GiB over http and https, one run each
    python benchmarks/transport.py --mib 256 --runs 3

Every client but curl hashes what it gets, compares the digest and writes a file; curl only writes, and is
what the ratios refer to. The registry is the real Distribution on loopback, its own CPU is not counted. Needs
docker-registry and curl on PATH; clients that this Python does not have are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from benchmarks.measure import Cost, machine, measure, show, version_of, write
from mrpack.digest import BUFFER_SIZE, ByteSource, Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.registry import RegistrySession, RegistrySettings, RegistryTarget
from tests.fakes.certificates import make_authority
from tests.fakes.distribution import Distribution

REPOSITORY = "bench/transport"

# Each client is a program of its own: `url`, `ca` (a PEM file, or empty) and `take(block)` are given to it.
PRELUDE = """
import hashlib, ssl, sys
url, ca, path, digest = sys.argv[1:]
hasher, file = hashlib.sha256(), open(path, "wb", buffering=0)
def take(block):
    hasher.update(block)
    file.write(block)
"""
FINISH = """
assert hasher.hexdigest() == digest
"""
CLIENTS = {
    "mrpack": """
from urllib.parse import urlsplit
from pathlib import Path
from mrpack.digest import BUFFER_SIZE, Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.registry import RegistrySession, RegistrySettings, RegistryTarget
parts = urlsplit(url)
size = int(sys.stdin.read())
blob = Descriptor(media_type="a/b", digest=Digest.parse("sha256:" + digest), size=size)
session = RegistrySession(RegistrySettings(ca_file=Path(ca) if ca else None))
source = RegistryTarget(session, parts.netloc, "REPOSITORY").fetch(blob)
buffer = memoryview(bytearray(BUFFER_SIZE))
while count := source.readinto(buffer):
    take(buffer[:count])
""".replace("REPOSITORY", REPOSITORY),
    "http.client readinto": """
import http.client
from urllib.parse import urlsplit
parts = urlsplit(url)
if ca:
    connection = http.client.HTTPSConnection(parts.netloc, context=ssl.create_default_context(cafile=ca))
else:
    connection = http.client.HTTPConnection(parts.netloc)
connection.request("GET", parts.path)
answer = connection.getresponse()
buffer = memoryview(bytearray(262144))
while count := answer.readinto(buffer):
    take(buffer[:count])
""",
    "urllib3 stream": """
import urllib3
pool = urllib3.PoolManager(ca_certs=ca or None)
for block in pool.request("GET", url, preload_content=False).stream(262144, decode_content=False):
    take(block)
""",
    "urllib3 readinto": """
import urllib3
pool = urllib3.PoolManager(ca_certs=ca or None)
answer = pool.request("GET", url, preload_content=False, decode_content=False)
buffer = memoryview(bytearray(262144))
while count := answer.readinto(buffer):
    take(buffer[:count])
""",
    "requests": """
import requests
for block in requests.get(url, stream=True, verify=ca or None).iter_content(262144):
    take(block)
""",
    "httpx": """
try:
    import httpx
except ImportError:
    import httpx2 as httpx
context = ssl.create_default_context(cafile=ca) if ca else True
with httpx.stream("GET", url, verify=context) as answer:
    for block in answer.iter_raw(262144):
        take(block)
""",
}
NEEDS = {
    "urllib3 stream": "urllib3",
    "urllib3 readinto": "urllib3",
    "requests": "requests",
    "httpx": "httpx2",
}


class RandomSource:
    """As many random bytes as a blob has, the same each time it is opened."""

    def __init__(self, block: bytes, count: int) -> None:
        self._block = block
        self._left = count

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._block)) if self._left else 0
        self._left -= bool(count)
        buffer[:count] = self._block[:count]
        return count

    def close(self) -> None:
        pass


def push_blob(target: RegistryTarget, mib: int) -> Descriptor:
    block, count = os.urandom(BUFFER_SIZE), mib * 1024 * 1024 // BUFFER_SIZE
    hasher = hashlib.sha256()
    for _ in range(count):
        hasher.update(block)
    digest = Digest.parse(f"sha256:{hasher.hexdigest()}")
    blob = Descriptor(media_type="a/b", digest=digest, size=count * BUFFER_SIZE)

    def open_at(_offset: int) -> ByteSource:
        return RandomSource(block, count)

    target.push(blob, open_at)
    return blob


def is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the blob")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    options = parser.parse_args()
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory(prefix="mrpack-bench-") as name:
        folder = Path(name)
        authority = make_authority(folder)
        secure = {"http": {"tls": {"certificate": str(authority.certificate), "key": str(authority.key)}}}
        for scheme, config in (("http", {}), ("https", secure)):
            ca = authority.ca_file if scheme == "https" else None
            with Distribution(folder / scheme, config) as registry:
                with RegistrySession(RegistrySettings(ca_file=ca)) as session:
                    blob = push_blob(RegistryTarget(session, registry.name, REPOSITORY), options.mib)
                url = f"{scheme}://{registry.name}/v2/{REPOSITORY}/blobs/{blob.digest}"
                costs += download(scheme, url, str(ca or ""), blob, folder, options.runs)
    packages = {"urllib3", "requests", "httpx2"}
    versions = {package: version(package) for package in sorted(packages) if is_installed(package)}
    versions |= {"curl": version_of(["curl", "--version"]), "size": f"{options.mib} MiB"}
    references = {"http": "curl, unverified", "https": "curl, unverified"}
    write("transport", options.out, costs, references, machine() | versions)
    show(costs, references, options.out)
    return 0


def download(scheme: str, url: str, ca: str, blob: Descriptor, folder: Path, runs: int) -> list[Cost]:
    print(scheme)
    out = folder / "out"
    curl = ["curl", "-sSf", "-o", str(out), url] + (["--cacert", ca] if ca else [])
    costs = [measure(scheme, "curl, unverified", curl, runs=runs, before=lambda: out.unlink(missing_ok=True))]
    for client, program in CLIENTS.items():
        if client in NEEDS and not is_installed(NEEDS[client]):
            continue
        text = PRELUDE + program.replace("sys.stdin.read()", str(blob.size)) + FINISH
        command = [sys.executable, "-c", text, url, ca, str(out), blob.digest.hex]
        costs.append(measure(scheme, client, command, runs=runs, before=lambda: out.unlink(missing_ok=True)))
    return costs


if __name__ == "__main__":
    sys.exit(main())
