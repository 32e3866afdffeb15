"""How each client is told to push and to pull a model: one row of `CLIENTS` each."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext, create_default_context

_MRPACK = (sys.executable, "-m", "mrpack")
_SKOPEO_MEMORY = Path("/var/lib/containers/cache")
_OCTETS = ("-H", "Content-Type: application/octet-stream")

_ORAS = """
import sys, oras.client
from pathlib import Path
verb, name, ca, path = sys.argv[1:]
client = oras.client.OrasClient(insecure=not ca, tls_verify=ca or True)
if verb == "push":
    files = [f"{file}:application/octet-stream" for file in sorted(Path(path).iterdir())]
    client.push(target=name, files=files, disable_path_validation=True, do_chunked=True)
else:
    client.pull(target=name, outdir=path)
"""
_MODELPACK = """
import sys
from pathlib import Path
from modelpack_client import ModelLayer, ModelPackClient, ModelPackConfig, ModelTechnicalConfig
verb, name, ca, path = sys.argv[1:]
client = ModelPackClient(insecure=not ca, tls_verify=ca or True)
if verb == "push":
    layers = [ModelLayer(str(file), artifact_path=file.name) for file in sorted(Path(path).iterdir())]
    config = ModelTechnicalConfig(format="gguf", param_size="1B", architecture="llama")
    client.push(name, layers, ModelPackConfig(config=config))
else:
    client.pull(name, path)
"""


@dataclass(frozen=True)
class Model:
    """Files in a folder, in mrpack's store as `name`, and as an OCI layout.

    `blobs`: digest and file of each layer, `foreign` the name as CNCF ModelPack, over the same blobs.
    """

    name: str
    foreign: str
    folder: Path
    layout: str
    blobs: tuple[tuple[str, Path], ...]

    @property
    def size(self) -> int:
        return sum(path.stat().st_size for _, path in self.blobs)


@dataclass(frozen=True)
class Place:
    """A repository of a registry; with `ca_file` over TLS."""

    registry: str
    repository: str
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        return f"{self.registry}/{self.repository}:v1"

    @property
    def address(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://{self.registry}/v2/{self.repository}/blobs/"


Order = Callable[[Model, Place], list[str]]
Fetch = Callable[[Model, Place, Path], list[str]]


@dataclass(frozen=True)
class Client:
    """`pull` writes below the folder that it is given, but mrpack into its MRPACK_HOME."""

    push: Order
    pull: Fetch
    wants_modelpack: bool = False


def _curl_push(model: Model, place: Place) -> list[str]:
    """One process for all blobs, which checks nothing; opening the uploads is not counted."""
    context = create_default_context(cafile=place.ca_file) if place.ca_file else None
    command = ["curl", "-sSf", *_OCTETS]
    if place.ca_file:
        command += ["--cacert", str(place.ca_file)]
    for digest, path in model.blobs:
        command += ["-T", str(path), _upload(place, digest, context)]
    return command


def _upload(place: Place, digest: str, context: SSLContext | None) -> str:
    request = urllib.request.Request(f"{place.address}uploads/", method="POST")
    with urllib.request.urlopen(request, context=context) as answer:
        location: str = answer.headers["Location"]
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _curl_pull(model: Model, place: Place, out: Path) -> list[str]:
    command = ["curl", "-sSf"]
    if place.ca_file:
        command += ["--cacert", str(place.ca_file)]
    for digest, path in model.blobs:
        command += ["-o", str(out / path.name), f"{place.address}{digest}"]
    return command


def _our_options(place: Place) -> list[str]:
    return ["-q", *(["--ca-file", str(place.ca_file)] if place.ca_file else [])]


def _our_push(model: Model, place: Place) -> list[str]:
    return [*_MRPACK, "push", model.name, place.name, *_our_options(place)]


def _our_pull(_model: Model, place: Place, _out: Path) -> list[str]:
    return [*_MRPACK, "pull", place.name, *_our_options(place)]


def _skopeo_push(model: Model, place: Place) -> list[str]:
    tls = [f"--dest-cert-dir={place.ca_file.parent}"] if place.ca_file else ["--dest-tls-verify=false"]
    return [*_skopeo(), *tls, model.layout, f"docker://{place.name}"]


def _skopeo_pull(_model: Model, place: Place, out: Path) -> list[str]:
    tls = [f"--src-cert-dir={place.ca_file.parent}"] if place.ca_file else ["--src-tls-verify=false"]
    return [*_skopeo(), *tls, f"docker://{place.name}", f"oci:{out}/oci:v1"]


def _skopeo() -> list[str]:
    """Without memory of earlier runs: it would mount what it has seen instead of pushing it.

    That lies below HOME, but for root in a folder of the system, which is hidden from it then.
    """
    command = ["skopeo", "--insecure-policy", "copy", "-q"]
    if os.geteuid() or not _SKOPEO_MEMORY.is_dir():
        return command
    hiding = f'mount -t tmpfs none {_SKOPEO_MEMORY} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", hiding, "sh", *command]


def _in_python(program: str) -> tuple[Order, Fetch]:
    def command(verb: str, place: Place, folder: Path) -> list[str]:
        return [sys.executable, "-c", program, verb, place.name, str(place.ca_file or ""), str(folder)]

    def push(model: Model, place: Place) -> list[str]:
        return command("push", place, model.folder)

    def pull(_model: Model, place: Place, out: Path) -> list[str]:
        return command("pull", place, out)

    return push, pull


CLIENTS = {
    "curl": Client(_curl_push, _curl_pull),
    "mrpack": Client(_our_push, _our_pull),
    "skopeo": Client(_skopeo_push, _skopeo_pull),
    "oras-py": Client(*_in_python(_ORAS)),
    "modelpack-client": Client(*_in_python(_MODELPACK), wants_modelpack=True),
}


def layers_of(inspected: str, folder: Path) -> tuple[tuple[str, Path], ...]:
    """Out of `mrpack inspect --json`: digest and file of each layer that is a file of `folder`."""
    files = json.loads(inspected)["files"]
    found = ((file["digest"], folder / file["path"]) for file in files)
    return tuple((digest, path) for digest, path in found if path.is_file())
