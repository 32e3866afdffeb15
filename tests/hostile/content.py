"""Bytes, digests, documents, sizes and encodings that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from tests.crash import invariants
from tests.fakes import registry_faults as faults
from tests.fakes.registry import Fault, Reply, Request, json_reply
from tests.hostile.stage import (
    CONFIG,
    GGUF,
    PULL_EXACTLY,
    REPOSITORY,
    TAGS,
    WEIGHTS,
    Arm,
    Case,
    Stage,
    bend,
    document,
    manifests,
    offer,
    publish,
    weights,
)

_HEX = "a" * 64
_NOT_FOUND, _NETWORK, _INTEGRITY, _INVALID, _NO_SPACE = 3, 5, 6, 7, 8


def raw_manifest(count: int = 1, **changes: object) -> bytes:
    """Its layers are described with these changes."""
    layer = {"mediaType": GGUF, "size": 2, "digest": str(Digest.of(b"{}")), **changes}
    config = {"mediaType": CONFIG, "size": 2, "digest": str(Digest.of(b"{}"))}
    value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer] * count}
    return json.dumps(value).encode()


def _invalid(raw: bytes, media_type: str = OCI_MANIFEST, says: str = "") -> Case:
    return Case(arm=document(raw, media_type), code=_INVALID, says=says, then=no_blob_was_asked_for)


def _layer(**changes: object) -> Case:
    return _invalid(raw_manifest(**changes))


def no_blob_was_asked_for(stage: Stage) -> Iterator[str]:
    if stage.registry.seen(kind="blobs"):
        yield "a blob of a bad document was asked for"


def _is_what_the_tag_meant(stage: Stage) -> Iterator[str]:
    """The name stands for bytes that once came under it, whatever a header says."""
    digests = {
        f"sha256:{hashlib.sha256(raw).hexdigest()}"
        for (_, name), (_, raw) in stage.registry.manifests.items()
        if ":" in name
    }
    names = invariants.tags(stage.home)
    if set(names) != {stage.remote} or not set(names.values()) <= digests:
        yield f"the names are {names}"


def _blobs_were_fetched_once(stage: Stage) -> Iterator[str]:
    asked = [request.name for request in stage.registry.seen("GET", "blobs") if _was_let_in(request)]
    if len(asked) != len(set(asked)):
        yield f"fetched more than once: {asked}"


def _nobody_else(stage: Stage) -> Iterator[str]:
    if stage.stranger.seen():
        yield "the stranger was asked"


def _was_let_in(request: Request) -> bool:
    return "Authorization" in request.headers


def _requests(limit: int) -> Callable[[Stage], Iterator[str]]:
    def check(stage: Stage) -> Iterator[str]:
        if len(stage.registry.requests) > limit:
            yield f"{len(stage.registry.requests)} requests"

    return check


def _another_document_under_the_digest(stage: Stage) -> None:
    other = publish(stage.registry, b"other weights", tag="v2")
    stage.registry.manifests[REPOSITORY, str(stage.manifest.descriptor.digest)] = (OCI_MANIFEST, other.raw)


def _a_tag_that_moves(stage: Stage) -> None:
    """It means another model as soon as it was asked for."""

    def fault(_request: Request, reply: Reply) -> Reply:
        publish(stage.registry, b"other weights")
        return reply

    manifests(fault, times=1)(stage)


def _index_of(*entries: Descriptor) -> bytes:
    return Index.build(entries).raw


def _endless_tags(stage: Stage, size: int = 1) -> None:
    """Each page has new tags, and one that follows."""
    numbers = itertools.count()

    def page(_request: Request, _reply: Reply) -> Reply:
        number = next(numbers)
        found = json_reply({"tags": [f"{'t' * 100}{number}.{item}" for item in range(size)]})
        return found.with_header("Link", f'</v2/{REPOSITORY}/tags/list?last={number}>; rel="next"')

    bend(page, "tags")(stage)


def _link(value: str) -> Arm:
    return bend(faults.header("Link", value), "tags")


def _encoded(how: Callable[[bytes], bytes]) -> Fault:
    """A body that was compressed, and says so."""

    def fault(_request: Request, reply: Reply) -> Reply:
        assert isinstance(reply.body, bytes)
        return replace(reply, body=how(reply.body)).with_header("Content-Encoding", "gzip")

    return fault


def _nested(depth: int, times: int = 1) -> Arm:
    """Indexes within indexes, around the honest manifest; each names the one within so many `times`."""

    def arm(stage: Stage) -> None:
        inner, media_type = stage.manifest.raw, OCI_MANIFEST
        for _ in range(depth):
            entry = Descriptor(media_type=media_type, digest=Digest.of(inner), size=len(inner))
            inner, media_type = _index_of(*[entry] * times), OCI_INDEX
            offer(stage.registry, inner, media_type)

    return arm


def _sha512(content: bytes) -> Arm:
    """A layer under a digest of the other algorithm; the registry gives `content` for it."""
    digest = f"sha512:{hashlib.sha512(WEIGHTS).hexdigest()}"

    def arm(stage: Stage) -> None:
        stage.registry.blobs[REPOSITORY, digest] = content
        _with_its_blobs(raw_manifest(digest=digest, size=len(WEIGHTS)))(stage)

    return arm


def _with_its_blobs(raw: bytes) -> Arm:
    """Of `raw_manifest`, which has but one."""

    def arm(stage: Stage) -> None:
        stage.registry.blobs[REPOSITORY, str(Digest.of(b"{}"))] = b"{}"
        offer(stage.registry, raw)

    return arm


def _config(content: bytes) -> Arm:
    """An honest manifest of a config that is a bomb."""
    digest = str(Digest.of(content))

    def arm(stage: Stage) -> None:
        stage.registry.blobs[REPOSITORY, digest] = content
        config = {"mediaType": CONFIG, "size": len(content), "digest": digest}
        layer = {"mediaType": GGUF, "size": len(WEIGHTS), "digest": str(Digest.of(WEIGHTS))}
        value = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        offer(stage.registry, json.dumps(value).encode())

    return arm


def _many_children(stage: Stage) -> None:
    """An index of manifests that are not there."""
    children = [
        Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"%d" % number), size=100)
        for number in range(10_000)
    ]
    offer(stage.registry, _index_of(*children), OCI_INDEX)


def _names_itself(stage: Stage) -> None:
    """A manifest whose layer is the manifest that the tag means, as a blob of another size."""
    digest = str(stage.manifest.descriptor.digest)
    stage.registry.blobs[REPOSITORY, digest] = stage.manifest.raw
    _with_its_blobs(raw_manifest(digest=digest, size=7))(stage)


CONTENT: Final[dict[str, Case]] = {
    "h01 other bytes of the same length": Case(
        arm=weights(faults.body(bytes(len(WEIGHTS)))), code=_INTEGRITY
    ),
    "h02 cut short of its Content-Length": Case(arm=weights(faults.cut(1_000)), code=_NETWORK),
    "h04 chunks without the last one": Case(arm=weights(faults.cut_chunked(1_000)), code=_NETWORK),
    "h05 longer than its descriptor": Case(arm=weights(faults.body(WEIGHTS + b"x")), code=_INTEGRITY),
    "h06 a body without an end": Case(arm=weights(faults.endless), code=_INTEGRITY),
    "h08 the last byte flipped": Case(arm=weights(faults.flip_last_byte), code=_INTEGRITY),
    "h09 a Content-Length smaller than the body": Case(arm=weights(faults.declare(10)), code=_INTEGRITY),
    "h10 a path as a digest": _layer(digest="sha256:../../../../etc/passwd"),
    "h11 a digest in capitals": _layer(digest=f"sha256:{_HEX.upper()}"),
    "h13 a digest of 63 digits": _layer(digest=f"sha256:{_HEX[1:]}"),
    "h13 a digest of 65 digits": _layer(digest=f"sha256:{_HEX}a"),
    "h13 a digest with a line feed": _layer(digest=f"sha256:{_HEX}\n"),
    "h14 a digest header that lies": Case(
        arm=manifests(faults.header("Docker-Content-Digest", f"sha256:{_HEX}")),
        code=0,
        then=_is_what_the_tag_meant,
    ),
    "h15 another manifest under the digest": Case(
        arm=_another_document_under_the_digest, code=_INTEGRITY, commands=(PULL_EXACTLY,)
    ),
    "h16 a tag that moves in the middle": Case(arm=_a_tag_that_moves, code=0, then=_is_what_the_tag_meant),
    "h18 an index as a manifest": _invalid(_index_of()),
    "h18 a manifest as an index": _invalid(raw_manifest(), OCI_INDEX),
    "h20 schema 1": _invalid(
        b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+json"
    ),
    "h20 layers and manifests at once": _invalid(
        b'{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}'
    ),
    "h49 a blob that is said to be gzip": Case(
        arm=weights(faults.header("Content-Encoding", "gzip")), code=_INTEGRITY
    ),
    "h51 a manifest of 5 MiB": _invalid(raw_manifest() + b" " * 5 * 1024**2, says="4194304"),
    "h53 JSON that is 100,000 deep": _invalid(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, says="deep"),
    "h54 a key twice": _invalid(b'{"schemaVersion":2,"schemaVersion":2}', says="duplicate"),
    "h55 a negative size": _layer(size=-5),
    "h55 a fraction as a size": _layer(size=2.0),
    "h55 a text as a size": _layer(size="2"),
    "h55 a size of 2^64": _layer(size=2**64),
    "h55 true as a size": _layer(size=True),
    "h57 one layer twice": Case(
        arm=lambda stage: publish(stage.registry, WEIGHTS, WEIGHTS), code=0, then=_blobs_were_fetched_once
    ),
    "h58 pages of tags without an end": Case(arm=_endless_tags, code=_NETWORK, commands=(TAGS,), says="end"),
    "h58 tags that go on elsewhere": Case(
        arm=lambda stage: _link(f'<{stage.stranger.url}/v2/x>; rel="next"')(stage),
        code=_NETWORK,
        commands=(TAGS,),
        says="refused",
    ),
    # Beyond what others have been attacked with.
    "x01 pages of tags that fill the memory": Case(
        arm=lambda stage: _endless_tags(stage, 20_000), code=_NETWORK, commands=(TAGS,)
    ),
    "x02 a Link that is slow to read": Case(arm=_link("<>;" * 20_000), code=0, commands=(TAGS,)),
    "x03 a manifest that is said to be gzip": Case(
        arm=manifests(_encoded(gzip.compress)), code=_INTEGRITY, commands=(PULL_EXACTLY,)
    ),
    "x04 a manifest that is a gzip bomb": Case(
        arm=manifests(_encoded(lambda _raw: gzip.compress(bytes(10**7)))), code=_INVALID
    ),
    "x05 10,000 layers that are one": Case(
        arm=_with_its_blobs(raw_manifest(10_000)),
        code=0,
        then=_blobs_were_fetched_once,
    ),
    "x06 more layers than any model has": _invalid(raw_manifest(20_001), says="20000"),
    "x07 10,000 manifests that are not there": Case(arm=_many_children, code=_NOT_FOUND, then=_requests(10)),
    "x08 a size of 2^63": _layer(size=2**63),
    "x09 a size of 2^63 - 1": Case(
        arm=document(raw_manifest(size=2**63 - 1, digest=f"sha256:{_HEX}")),
        code=_NO_SPACE,
        says="free",
        then=no_blob_was_asked_for,
    ),
    "x10 a digest with digits of another script": _layer(digest=f"sha256:{chr(0x661) * 64}"),
    "x11 a digest of an algorithm that is broken": _layer(digest=f"md5:{'a' * 32}"),
    "x12 a SHA-512 digest of other bytes": Case(arm=_sha512(WEIGHTS[::-1]), code=_INTEGRITY),
    "x13 a SHA-512 digest of the right bytes": Case(arm=_sha512(WEIGHTS), code=0),
    "x14 indexes in indexes": Case(arm=_nested(8), code=_INVALID, says="nested"),
    "x15 a manifest of empty lists": _invalid(b'{"schemaVersion":2,"x":[' + b"[]," * 1_390_000 + b"[]]}"),
    "x16 a manifest of small objects": _invalid(
        b'{"schemaVersion":2,"x":[' + b'{"a":1},' * 520_000 + b"{}]}"
    ),
    "x17 a config of empty lists": Case(
        arm=_config(b'{"config":{"format":"gguf"},"x":[' + b"[]," * 2_700_000 + b"[]]}"), code=0
    ),
    "x18 a manifest of a number of 4 million digits": _invalid(b'{"a":' + b"1" * 4_000_000 + b"}"),
    "x19 a manifest that has itself as a layer": Case(arm=_names_itself, code=_INTEGRITY),
    "x20 one digest with two sizes": _invalid(raw_manifest(size=3), says="two sizes"),
    "x21 a part of a manifest": Case(
        arm=manifests(lambda _request, reply: replace(reply, status=206)), code=_NETWORK
    ),
    "x22 an empty answer that says it is a manifest": _invalid(b""),
    "x23 a manifest in UTF-16": _invalid(raw_manifest().decode().encode("utf-16")),
    "x24 a manifest with a byte order mark": _invalid(b"\xef\xbb\xbf" + raw_manifest()),
    "x25 half of a surrogate pair": _layer(mediaType="\ud800"),
    "x26 indexes that multiply": Case(arm=_nested(4, 1_000), code=0, then=_blobs_were_fetched_once),
    "x27 indexes that multiply, looked at": Case(
        arm=_nested(4, 1_000),
        code=_INVALID,
        commands=(("lint", "--remote", "{remote}"),),
        says="1 finding",
    ),
    "x28 layers that are said to lie elsewhere": Case(
        arm=lambda stage: _with_its_blobs(raw_manifest(urls=[f"{stage.stranger.url}/blob"]))(stage),
        code=0,
        then=_nobody_else,
    ),
}
