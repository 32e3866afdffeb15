"""Names of files that leave their folder, collide, or move a cursor; archives; what belongs to a model."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from typing import Final

from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from tests.fakes.registry import Reply, Request
from tests.hostile.stage import (
    FILE_PATH,
    PULL,
    REFERRERS,
    REPOSITORY,
    RESOLVE,
    Arm,
    Case,
    Layer,
    Stage,
    layers,
    offer,
)

_NETWORK, _INVALID = 5, 7
_FILE: Final = "application/vnd.docker.ai.model.file"


def _names(*paths: str) -> Case:
    """A model with files of these names: it may be stored, and is never laid out."""
    found = [Layer(path.encode(errors="replace"), _FILE, path) for path in paths]
    return Case(arm=layers(Layer(b"weights", path="m.gguf"), *found), code=_INVALID, commands=(PULL, RESOLVE))


def _bomb(media_type: str, content: bytes) -> Arm:
    """A model of the CNCF family whose weights lie in a compressed archive."""
    config = encode(
        {
            "descriptor": {},
            "modelfs": {"type": "layers", "diffIds": [str(Digest.of(content))]},
            "config": {"format": "gguf"},
        }
    )

    def arm(stage: Stage) -> None:
        described = []
        for kind, blob in (("application/vnd.cncf.model.config.v1+json", config), (media_type, content)):
            stage.registry.blobs[REPOSITORY, str(Digest.of(blob))] = blob
            described.append(Descriptor(media_type=kind, digest=Digest.of(blob), size=len(blob)))
        manifest = Manifest.build(
            config=described[0],
            layers=[described[1].with_annotations({FILE_PATH: "model"})],
            artifact_type="application/vnd.cncf.model.manifest.v1+json",
        )
        offer(stage.registry, manifest.raw)

    return arm


def _zeros(size: int) -> bytes:
    """An archive of a file of zeros, compressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("model.gguf")
        member.size = size
        archive.addfile(member, io.BytesIO(bytes(size)))
    return gzip.compress(packed.getvalue())


def _fallback_tag(stage: Stage) -> None:
    """No API for referrers, and a tag that names one report and one manifest that is not there."""
    entries = [
        Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"report"), size=6, artifact_type="a/report"),
    ]
    digest = stage.manifest.descriptor.digest
    offer(stage.registry, Index.build(entries).raw, OCI_INDEX, f"sha256-{digest.hex}")


def _pages(content: bytes, link: str = "") -> Arm:
    """The API for referrers; `link`: where the same page comes once more."""

    def answer(request: Request, reply: Reply) -> Reply:
        if "/referrers/" not in request.target:
            return reply
        found = Reply(200, {"Content-Type": OCI_INDEX}, content)
        if not link:
            return found
        number = len(request.target)
        return found.with_header(
            "Link", f"<{request.target}{'&' if '?' in request.target else '?'}x={number}>; rel=next"
        )

    return lambda stage: stage.registry.fault("", answer)


def _other_subject() -> Arm:
    """The list names a manifest that belongs to another model; `--referrers` brings it along."""

    def arm(stage: Stage) -> None:
        stranger = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"another model"), size=13)
        referrer = Manifest.build(
            config=stage.manifest.config, layers=[], artifact_type="a/signature", subject=stranger
        )
        offer(stage.registry, referrer.raw, tag="signature")
        _pages(Index.build([referrer.descriptor]).raw)(stage)

    return arm


def _large_index(count: int, size: int) -> bytes:
    return Index.build(
        [
            Descriptor(
                media_type=OCI_MANIFEST,
                digest=Digest.of(b"%d" % number),
                size=9,
                annotations={"x": "é" * size},
            )
            for number in range(count)
        ]
    ).raw


def _listed_one(stage: Stage) -> Iterator[str]:
    tag = f"sha256-{stage.manifest.descriptor.digest.hex}"
    if not any(request.name == tag for request in stage.registry.seen("GET", "manifests")):
        yield "the tag that stands for the API was not asked for"


NAMES: Final[dict[str, Case]] = {
    "h38 a parent folder": _names("../../x"),
    "h39 an absolute name": _names("/tmp/x"),
    "h40 a parent folder within": _names("a/../../b"),
    "h42 a line feed and an escape sequence": _names("a\n\x1b[2Jb"),
    "h43 names that differ in case": _names("A.json", "a.json"),
    "h44 names that differ in Unicode form": _names("\u00e9.json", "e\u0301.json"),
    "h46 a file that is a folder too": _names("a", "a/b"),
    "h47 a name of 300 bytes": _names("x" * 300),
    "h48 a drive": _names("C:\\x"),
    "h48 a device of Windows": _names("CON"),
    "h48 a share": _names("\\\\host\\share"),
    "h50 a gzip bomb as weights": Case(
        arm=_bomb("application/vnd.cncf.model.weight.v1.tar+gzip", _zeros(100_000_000)),
        code=_INVALID,
        commands=(PULL, RESOLVE),
    ),
    "h59 no API for referrers, but a tag": Case(
        arm=_fallback_tag, code=0, commands=(REFERRERS,), then=_listed_one
    ),
    "h61 a referrer of another subject": Case(
        arm=_other_subject(), code=_INVALID, commands=((*PULL, "--referrers"),)
    ),
    "x70 pages of referrers without an end": Case(
        arm=_pages(_large_index(100, 10), "again"), code=_NETWORK, commands=(REFERRERS,)
    ),
    "x71 referrers that fill the memory": Case(
        arm=_pages(_large_index(10, 200_000), "again"), code=_NETWORK, commands=(REFERRERS,)
    ),
    "x72 a text that nothing can write": Case(
        arm=lambda stage: offer(
            stage.registry,
            stage.manifest.raw.replace(b'"layers"', b'"annotations":{"x":"\\uD800"},"layers"'),
        ),
        code=_INVALID,
        says="surrogate",
        commands=(("inspect", "--remote", "{remote}"),),
    ),
    "x73 a name with a right-to-left override": _names("gguf.\u202eexe"),
    "x74 17 folders deep": _names("/".join("a" * 17)),
    "x75 an annotation that is a bomb of its own": Case(
        arm=layers(Layer(b"weights", path="m.gguf"), Layer(b"x", _FILE, "a/" * 100_000)),
        code=_INVALID,
        commands=(PULL, RESOLVE),
    ),
}
