"""Digest, and the one door through which foreign bytes enter: the verifying reader."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, Self

from mrpack.errors import IntegrityError, InvalidArtifact

if TYPE_CHECKING:
    from hashlib import _Hash

# OCI image-spec, "Digests". sha512 is registered there too.
_DIGEST: Final = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")

# Fastest for hash plus file on ext4; 1 MiB costs up to 40 % more CPU (docs/benchmarks.md).
BUFFER_SIZE: Final = 256 * 1024


class ByteSource(Protocol):
    """A readable stream of bytes. Whoever opened it closes it.

    `readinto` fills at most `len(buffer)` bytes and returns how many; 0 is the end.
    Raises MrpackError alone.
    """

    def readinto(self, buffer: memoryview, /) -> int: ...

    def close(self) -> None: ...


class Digest(NamedTuple):
    """A content address such as `sha256:…`. Safe as a file name part: only `parse` and hashing make one.

    A tuple, which is made and hashed in a third of a dataclass's time: a store has a hundred thousand.
    """

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: object, where: str = "digest") -> Self:
        """Raises InvalidArtifact unless `text` is a registered algorithm and lower-case hex of its length."""
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise InvalidArtifact(f"not a digest: {str(text)[:80]!r}", where=where)
        algorithm, _, hex_ = text.partition(":")
        return cls(sys.intern(algorithm), hex_)

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls("sha256", _hash("sha256", content).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hex digits, as shown to people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _hash(algorithm: str, content: bytes = b"") -> _Hash:
    import hashlib  # noqa: PLC0415  # OpenSSL takes 3 ms, and names need none

    return hashlib.new(algorithm, content)


class Verifier:
    """Counts and hashes bytes against an expected digest and size; each byte is hashed once.

    Not thread-safe: one thread updates.
    """

    __slots__ = ("_digest", "_hash", "_name", "_size", "count")

    def __init__(self, digest: Digest, size: int, name: str = "") -> None:
        self._digest = digest
        self._size = size
        self._hash = _hash(digest.algorithm)
        self._name = name or str(digest)
        self.count = 0

    def update(self, chunk: bytes | memoryview) -> None:
        """Raises IntegrityError as soon as there are more than `size` bytes."""
        self.count += len(chunk)
        if self.count > self._size:
            raise self.surplus()
        self._hash.update(chunk)

    def surplus(self) -> IntegrityError:
        """What a byte too many is, for who sees one before it gets here."""
        return IntegrityError(
            f"{self._name}: more than the {self._size} bytes announced",
            expected=str(self._size),
            actual=f"> {self._size}",
        )

    def copy(self) -> Verifier:
        """One that goes its own way from here."""
        twin = Verifier(self._digest, self._size, self._name)
        twin._hash = self._hash.copy()
        twin.count = self.count
        return twin

    def finish(self) -> None:
        """Raises IntegrityError unless exactly `size` bytes with the right digest went through."""
        if self.count != self._size:
            raise IntegrityError(
                f"{self._name}: ended after {self.count} of {self._size} bytes",
                expected=str(self._size),
                actual=str(self.count),
            )
        actual = self._hash.hexdigest()
        if actual != self._digest.hex:
            raise IntegrityError(
                f"{self._name}: content has digest {self._digest.algorithm}:{actual}",
                expected=str(self._digest),
                actual=f"{self._digest.algorithm}:{actual}",
            )


class VerifyingReader:
    """A ByteSource that ends only if its source gave exactly `size` bytes with the right digest.

    `readinto` raises IntegrityError at the first byte too many, and at the end on a short or wrong content.
    Closing early is allowed and verifies nothing. Closes its source.
    """

    def __init__(self, source: ByteSource, digest: Digest, size: int, name: str = "") -> None:
        self._source = source
        self._verifier = Verifier(digest, size, name)
        self._done = False

    def readinto(self, buffer: memoryview, /) -> int:
        if self._done:
            return 0
        count = self._source.readinto(buffer)
        if count:
            self._verifier.update(buffer[:count])
        else:
            self._verifier.finish()
            self._done = True
        return count

    def close(self) -> None:
        self._source.close()


class BytesSource:
    """Bytes in memory as a ByteSource."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._rest = memoryview(b"")


def read_verified(source: ByteSource, digest: Digest, size: int, *, limit: int, name: str = "") -> bytes:
    """The whole content, for manifests and configs. `limit` in bytes. Does not close `source`.

    Raises:
        IntegrityError: more, fewer or other bytes than announced.
        InvalidArtifact: `size` is above `limit`; nothing is read then.
    """
    if size > limit:
        raise InvalidArtifact(f"{size} bytes, more than the limit of {limit}", where=name or str(digest))
    reader = VerifyingReader(source, digest, size, name)
    content = bytearray()
    buffer = memoryview(bytearray(min(BUFFER_SIZE, size + 1)))
    while count := reader.readinto(buffer):
        content += buffer[:count]
    return bytes(content)
