"""What oras-py's requests and answers carry: streamed, bounded, verified before the last block leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from requests import Response
from urllib3.exceptions import HTTPError

from mrpack.content.ports import Opener
from mrpack.digest import BUFFER_SIZE, Verifier
from mrpack.errors import InvalidArtifact, MrpackError, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.retry import Clock, parse_retry_after
from mrpack.registry.wire import ERROR_BODY_LIMIT, Refusal


class UploadBody:
    """A request's body, opened anew for each try; its last block leaves only when all of it was right."""

    def __init__(self, blob: Descriptor, open_at: Opener) -> None:
        self._blob = blob
        self._open_at = open_at

    def __len__(self) -> int:
        return self._blob.size

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[bytes]:
        verifier = Verifier(self._blob.digest, self._blob.size)
        buffer = memoryview(bytearray(BUFFER_SIZE))
        with closing(self._open_at(0)) as source:
            held = b""
            while count := source.readinto(buffer):
                verifier.update(buffer[:count])
                if held:
                    yield held
                held = bytes(buffer[:count])
            verifier.finish()
        if held:
            yield held


class ResponseSource:
    """The body as it is on the wire: whoever reads it verifies."""

    def __init__(self, response: Response, doing: str) -> None:
        self._response = response
        self._doing = doing

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            content: bytes = self._response.raw.read(len(buffer), decode_content=False)
        except (HTTPError, OSError) as error:
            raise RegistryUnavailable(
                f"{self._doing}: the answer broke off: {type(error).__name__}"
            ) from error
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._response.close()


def skip(source: ResponseSource, count: int) -> None:
    buffer = memoryview(bytearray(BUFFER_SIZE))
    while count:
        done = source.readinto(buffer[: min(count, len(buffer))])
        if not done:
            return
        count -= done


def read_body(response: Response, limit: int, doing: str) -> bytes:
    content = bytearray()
    buffer = memoryview(bytearray(64 * 1024))
    with closing(ResponseSource(response, doing)) as source:
        while count := source.readinto(buffer):
            content += buffer[:count]
            if len(content) > limit:
                raise InvalidArtifact(f"more than the limit of {limit} bytes", where=doing)
    return bytes(content)


def read_refusal(response: Response) -> Refusal:
    retry_after_s = parse_retry_after(response.headers.get("Retry-After"), Clock().now())
    try:
        raw = read_body(response, ERROR_BODY_LIMIT, "error")
    except MrpackError:
        raw = b""
    return Refusal.parse(response.status_code, raw, retry_after_s)
