"""First inputs of each target, from the fakes: run once, `fuzz.py` finds the rest."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from typing import Final

import zstandard

from mrpack.digest import Digest
from tests.fakes import (
    malformed_dduf,
    malformed_gguf,
    malformed_safetensors,
    raw_dduf,
    raw_gguf,
    raw_safetensors,
)
from tests.fuzz.targets import CONTENT, SEPARATOR

_DIGEST: Final = str(Digest.of(b"{}"))
_LAYER: Final = {
    "mediaType": "application/vnd.docker.ai.gguf.v3",
    "digest": _DIGEST,
    "size": 2,
    "annotations": {"org.cncf.model.filepath": "model.gguf"},
}
_CONFIG_TYPES: Final = (
    "application/vnd.docker.ai.model.config.v0.1+json",
    "application/vnd.docker.ai.model.config.v0.2+json",
    "application/vnd.cncf.model.config.v1+json",
    "application/vnd.kitops.modelkit.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.empty.v1+json",
)


def _manifest(config_type: str, layer: Mapping[str, object] = _LAYER) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": config_type, "digest": _DIGEST, "size": 2},
        "layers": [layer],
    }
    return json.dumps(document).encode()


def _tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("config.json", "weights/" + "long" * 30 + ".safetensors"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"{ } "))
    return content.getvalue()


def _http() -> Iterator[bytes]:
    size = len(CONTENT)
    yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + CONTENT
    yield (
        b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 8-63/64\r\nContent-Length: 56\r\n\r\n"
        + CONTENT[8:]
    )
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + CONTENT + b"\r\n0\r\n\r\n"
    yield b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\n\r\n'
    yield b"HTTP/1.1 307 There\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    yield b'HTTP/1.1 404 No\r\nContent-Length: 33\r\n\r\n{"errors":[{"code":"BLOB_UNKNOWN"}'
    yield b"HTTP/1.1 503 No\r\nRetry-After: 0\r\nContent-Encoding: gzip\r\n\r\n"


def seeds() -> Mapping[str, list[bytes]]:
    gguf = raw_gguf.gguf([raw_gguf.pair("general.name", 8, "tiny")], [raw_gguf.tensor("a", [8])], bytes(32))
    tensors = {"a": raw_safetensors.Content("F32", [2])}
    tar = _tar()
    return {
        "reference": [
            b"smollm2",
            b"localhost:5000/a/b:tag@" + _DIGEST.encode(),
            b"[::1]:5000/a/b",
            b"hf.co/a/b:Q4_0",
        ],
        "hub-reference": [b"hf.co/org/repo:Q4_K_M@main", b"https://huggingface.co/org/repo"],
        "digest": [_DIGEST.encode(), b"sha512:" + b"0" * 128],
        "manifest": [_manifest(_CONFIG_TYPES[0])],
        "index": [json.dumps({"schemaVersion": 2, "manifests": [_LAYER]}).encode()],
        "artifact": [_manifest(name) + SEPARATOR + b'{"config":{"format":"gguf"}}' for name in _CONFIG_TYPES],
        "overrides": [
            b'{"context_size":4096,"sampling":{"stop":["a"]}}',
            b'{"vllm":{"dtype":"auto","hf_overrides":{}}}',
        ],
        "setting": [b"context_size=1", b'sampling.stop=["a"]', b"keep_alive=5m", b"diffusers.size=64x64"],
        "timestamp": [b"2026-01-02T03:04:05.678901234+01:00", b"1970-01-01T00:00:00Z"],
        "challenge": [
            b'Bearer realm="https://a/b",service="c",scope="repository:a/b:pull,push"',
            b"Basic realm=x, Digest a==",
        ],
        "location": [
            b"/v2/x?state=a",
            b"https://cdn.example.com:8443/a?b=c",
            b"//x/y",
            b"../..",
            b"http://a/",
        ],
        "retry-after": [b"120", b"Wed, 21 Oct 2026 07:28:00 GMT"],
        "http-answer": list(_http()),
        "http-request": [
            b"PUT /v2/a/blobs/uploads/x?digest=a%3Ab HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3"
        ],
        "json-document": [b'{"a":[1,2.5e3,"\\ud83d\\ude00",null,true]}'],
        "gguf": [gguf, *(case.content for case in malformed_gguf.MALFORMED.values())],
        "safetensors": [
            raw_safetensors.safetensors(tensors, {"format": "pt"}),
            *(case.content for case in malformed_safetensors.MALFORMED.values()),
        ],
        "dduf": [raw_dduf.GOOD, *(case.content for case in malformed_dduf.MALFORMED.values())],
        "model-config": [b'{"architectures":["X"],"quantization_config":{"quant_method":"gptq","bits":4}}'],
        "pipeline": [b'{"_class_name":"FluxPipeline","unet":["diffusers","UNet2DConditionModel"]}'],
        "code": [
            b"model.bin" + SEPARATOR + b"\x80\x02cos\nsystem\n(S'true'\ntR.",
            b"config.json" + SEPARATOR + b'{"auto_map":{"AutoModel":"x.Y"}}',
            b"weights.zip" + SEPARATOR + raw_dduf.GOOD,
        ],
        "tar": [tar],
        "tar-gzip": [gzip.compress(tar, mtime=0)],
        "tar-zstd": [zstandard.compress(tar)],
    }
