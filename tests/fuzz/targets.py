"""What is fuzzed: each target takes bytes, and may raise nothing but errors of our tree.

A target also says what has to be true of what it read: that it is written back as it was, that reading it
again gives the same. Sources are bounded by what they were given, so that memory is.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from mrpack.digest import BytesSource, Digest
from mrpack.distribution.message import BadRequestError, parse_head
from mrpack.errors import MrpackError
from mrpack.formats.code import find_code
from mrpack.formats.dduf import check_content, parse_dduf
from mrpack.formats.diffusers.folder import read_pipeline
from mrpack.formats.gguf.reader import parse_header as parse_gguf
from mrpack.formats.safetensors.configuration import read_configuration
from mrpack.formats.safetensors.reader import parse_header as parse_safetensors
from mrpack.hub.reference import parse_hub_reference
from mrpack.model.dialects import read_artifact
from mrpack.model.layer import ArtifactArchive, LayerRole, Packing
from mrpack.model.overrides import encode_overrides, parse_overrides
from mrpack.model.overrides.document import parse_setting
from mrpack.model.timestamp import parse_rfc3339
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.reference import Reference
from mrpack.readable import ReadableFile
from mrpack.registry import ProxySettings, RegistrySession, RegistrySettings, RegistryTarget
from mrpack.registry.challenge import parse_challenges
from mrpack.registry.retry import RetryPolicy, parse_retry_after
from mrpack.registry.tokens import parse_scopes
from mrpack.registry.url import Url
from mrpack.store.untar import unpack

Target = Callable[[bytes], None]

# Between the parts of an input that has several: a manifest and its config, for one.
SEPARATOR: Final = b"\0\xff\0"
# What the fuzzed registry is asked for.
CONTENT: Final = bytes(range(64))


def reference(raw: bytes) -> None:
    parsed = Reference.parse(_text(raw))
    assert Reference.parse(str(parsed)) == parsed
    assert Reference.parse(parsed.familiar()) == parsed


def hub_reference(raw: bytes) -> None:
    parse_hub_reference(_text(raw))


def digest(raw: bytes) -> None:
    text = _text(raw)
    assert str(Digest.parse(text)) == text


def manifest(raw: bytes) -> None:
    parsed = Manifest.parse(raw)
    assert parsed.raw == raw
    assert parsed.descriptor.digest == Digest.of(raw)


def index(raw: bytes) -> None:
    assert Index.parse(raw).raw == raw


def artifact(raw: bytes) -> None:
    document, _, config = raw.partition(SEPARATOR)
    read_artifact(Manifest.parse(document), config)


def overrides(raw: bytes) -> None:
    parsed = parse_overrides(raw)
    assert parse_overrides(encode_overrides(parsed)) == parsed


def setting(raw: bytes) -> None:
    parse_setting(_text(raw))


def timestamp(raw: bytes) -> None:
    parse_rfc3339(_text(raw))


def challenge(raw: bytes) -> None:
    """As http.client decodes headers."""
    for found in parse_challenges([raw.decode("latin-1")]):
        parse_scopes(found.parameters.get("scope", "").split())


def location(raw: bytes) -> None:
    """Where an upload leads: never to another scheme, and with nothing that ends the request's line."""
    base = Url.parse("https://registry.example.com/v2/team/model/blobs/uploads/")
    url = base.follow(raw.decode("latin-1"))
    assert url.origin.scheme == "https"
    assert url.target.startswith("/")
    assert all("!" <= character <= "~" for character in url.target + url.origin.authority)


def retry_after(raw: bytes) -> None:
    delay = parse_retry_after(raw.decode("latin-1"), 0.0)
    assert delay is None or delay >= 0


def http_answer(raw: bytes) -> None:
    """Everything that a registry sends: status line, headers, Content-Range, chunks, body."""
    server = _registry()
    server.answer = raw
    offset = raw[0] % len(CONTENT) if raw else 0
    blob = Descriptor(media_type="a/b", digest=Digest.of(CONTENT), size=len(CONTENT))
    source = RegistryTarget(server.session, server.address, "team/model").fetch(blob, offset)
    try:
        buffer = memoryview(bytearray(32))
        while source.readinto(buffer):
            pass
    finally:
        source.close()


def http_request(raw: bytes) -> None:
    """What clients send to `registry serve`."""
    with contextlib.suppress(BadRequestError):
        parse_head(raw)


def json_document(raw: bytes) -> None:
    decode_object(raw, "document", limit=1 << 20)


def gguf(raw: bytes) -> None:
    parse_gguf(_read_at(raw), len(raw), "model.gguf")


def safetensors(raw: bytes) -> None:
    parse_safetensors(_read_at(raw), len(raw), "model.safetensors")


def dduf(raw: bytes) -> None:
    check_content(parse_dduf(_file("model.dduf", raw)))


def model_config(raw: bytes) -> None:
    read_configuration([_file("config.json", raw)], "")


def pipeline(raw: bytes) -> None:
    read_pipeline([_file("model_index.json", raw), _file("unet/config.json", b"{}")])


def code(raw: bytes) -> None:
    """Any file of a model: looked through for pickles and scripts, by name, content and document."""
    name, _, content = raw.partition(SEPARATOR)
    find_code([_file(name.decode("latin-1")[:64] or "model.bin", content)])


def tar(raw: bytes) -> None:
    _unpack(raw, Packing.TAR)


def tar_gzip(raw: bytes) -> None:
    _unpack(raw, Packing.TAR_GZIP)


def tar_zstd(raw: bytes) -> None:
    _unpack(raw, Packing.TAR_ZSTD)


TARGETS: Final[Mapping[str, Target]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        reference,
        hub_reference,
        digest,
        manifest,
        index,
        artifact,
        overrides,
        setting,
        timestamp,
        challenge,
        location,
        retry_after,
        http_answer,
        http_request,
        json_document,
        gguf,
        safetensors,
        dduf,
        model_config,
        pipeline,
        code,
        tar,
        tar_gzip,
        tar_zstd,
    )
}


def run(target: Target, raw: bytes) -> MrpackError | None:
    """The error that the input ended in. Whatever else is raised is a fault, and goes through."""
    error = None
    try:
        target(raw)
    except MrpackError as refused:
        error = refused
    assert "\n" not in str(error), "an error is one line"
    return error


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _read_at(raw: bytes) -> Callable[[int, int], bytes]:
    def read_at(offset: int, count: int) -> bytes:
        assert offset >= 0, "as os.pread"
        assert count >= 0, "as os.pread"
        return raw[offset : offset + count]

    return read_at


def _file(name: str, raw: bytes) -> ReadableFile:
    return ReadableFile(name=name, where=name, size=len(raw), read_at=_read_at(raw))


def _unpack(raw: bytes, packing: Packing) -> None:
    """Nothing may come to lie outside the folder, nor anything in it when the archive is refused."""
    blob = Descriptor(media_type="a/b", digest=Digest.of(raw), size=len(raw))
    archive = ArtifactArchive(name="", role=LayerRole.OTHER, packing=packing, descriptor=blob)
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside, "inside")
        try:
            unpack(archive, BytesSource(raw), folder, limit=1 << 20)
        except MrpackError:
            assert not folder.exists() or not list(folder.iterdir())
            raise
        finally:
            assert set(Path(outside).iterdir()) <= {folder}


class _Registry:
    """Gives the input as its answer, whatever it is asked; one connection after the other, until we end.

    It is the proxy to all others as well: where an input leads elsewhere, no network is asked.
    """

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        settings = RegistrySettings(
            proxies=ProxySettings(http=self.address, https=self.address),
            connect_timeout_s=5.0,
            read_timeout_s=5.0,
            retry=RetryPolicy(attempts=1),
        )
        self.session = RegistrySession(settings)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head and (block := connection.recv(65_536)):
                    head += block
                connection.sendall(self.answer)


@cache
def _registry() -> _Registry:
    return _Registry()
