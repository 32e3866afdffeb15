from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.digest import BytesSource, Digest, VerifyingReader, read_verified
from mrpack.errors import IntegrityError, InvalidArtifact

HEX = hashlib.sha256(b"hello").hexdigest()


def read_all(reader: VerifyingReader, step: int = 3) -> bytes:
    content = b""
    buffer = memoryview(bytearray(step))
    while count := reader.readinto(buffer):
        content += bytes(buffer[:count])
    return content


def test_digest_of_bytes_is_its_parse() -> None:
    assert Digest.of(b"hello") == Digest.parse(f"sha256:{HEX}")
    assert Digest.of(b"hello").short == HEX[:12]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX}\n",
        f" sha256:{HEX}",
        f"sha512:{HEX}",
        f"md5:{HEX[:32]}",
        "sha256:../../../../etc/passwd",
        None,
        5,
    ],
)
def test_what_is_no_digest_is_refused(text: object) -> None:
    with pytest.raises(InvalidArtifact):
        Digest.parse(text)


@given(st.text())
def test_any_text_parses_to_itself_or_is_refused(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidArtifact:
        return
    assert str(digest) == text
    assert "/" not in digest.hex


@given(st.binary(max_size=200), st.integers(1, 50))
def test_right_bytes_pass_whatever_the_step(content: bytes, step: int) -> None:
    reader = VerifyingReader(BytesSource(content), Digest.of(content), len(content))
    assert read_all(reader, step) == content


@pytest.mark.parametrize(
    ("sent", "size"),
    [(b"hell", 5), (b"hello!", 5), (b"jello", 5), (b"", 5), (b"hello", 4), (b"hello", 6), (b"hello", 0)],
)
def test_other_bytes_or_sizes_do_not(sent: bytes, size: int) -> None:
    reader = VerifyingReader(BytesSource(sent), Digest.of(b"hello"), size)
    with pytest.raises(IntegrityError):
        read_all(reader)


def test_nothing_is_read_above_the_limit() -> None:
    class Untouched:
        def readinto(self, buffer: memoryview, /) -> int:
            raise AssertionError("read")

        def close(self) -> None:
            pass

    with pytest.raises(InvalidArtifact, match="limit"):
        read_verified(Untouched(), Digest.of(b"hello"), 10**9, limit=1000)
