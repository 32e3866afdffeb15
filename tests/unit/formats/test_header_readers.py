"""What the readers of GGUF and Safetensors headers share: all is refused with its file and a reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats import gguf, safetensors
from mrpack.readable import ReadAt
from tests.fakes import malformed_gguf, malformed_safetensors, raw_gguf, raw_safetensors


@dataclass(frozen=True)
class Reader:
    """`good` is a whole file, every byte of which is needed."""

    suffix: str
    parse_header: Callable[[ReadAt, int, str], object]
    read_header: Callable[[Path], object]
    good: bytes
    refusal: str
    malformed: Mapping[str, tuple[bytes, str]]

    def parse(self, content: bytes, *, size: int | None = None) -> object:
        """`size`: that of the file when reading began."""
        return self.parse_header(
            lambda offset, count: content[offset : offset + count],
            len(content) if size is None else size,
            f"model.{self.suffix}",
        )


READERS = {
    "gguf": Reader(
        "gguf",
        gguf.parse_header,
        gguf.read_header,
        raw_gguf.gguf(
            [raw_gguf.pair("general.name", raw_gguf.STRING, "tiny" * 100)],
            [raw_gguf.tensor("a", [8]), raw_gguf.tensor("b", [2], offset=32)],
            bytes(range(40)),
        ),
        "not a GGUF file",
        malformed_gguf.MALFORMED,
    ),
    "safetensors": Reader(
        "safetensors",
        safetensors.parse_header,
        safetensors.read_header,
        raw_safetensors.safetensors(
            {"a" * 300: raw_safetensors.Content("F32", [2]), "b": raw_safetensors.Content("U8", [3])},
            {"format": "pt"},
        ),
        "not a Safetensors file",
        malformed_safetensors.MALFORMED,
    ),
}
MALFORMED = [(kind, name) for kind, reader in READERS.items() for name in reader.malformed]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


@pytest.mark.parametrize(("kind", "name"), MALFORMED)
def test_malformed_files_are_refused_with_file_and_reason(kind: str, name: str) -> None:
    reader = READERS[kind]
    content, reason = reader.malformed[name]
    with pytest.raises(InvalidArtifact) as caught:
        reader.parse(content)
    message = str(caught.value)
    assert reason in message
    assert message.startswith(f"model.{kind}: ")
    assert "\n" not in message
    assert len(message) < 400
    assert caught.value.exit_code == 7


def test_every_cut_of_a_good_file_is_refused(reader: Reader) -> None:
    reader.parse(reader.good)
    for length in range(len(reader.good)):
        with pytest.raises(InvalidArtifact):
            reader.parse(reader.good[:length])


def test_a_bad_file_is_named_in_the_error(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / f"bad.{reader.suffix}"
    path.write_bytes(b"NOT A HEADER")
    with pytest.raises(InvalidArtifact, match=rf"bad\.{reader.suffix}: {reader.refusal}") as caught:
        reader.read_header(path)
    assert caught.value.where == str(path)


def test_a_missing_file_is_not_found(reader: Reader, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        reader.read_header(tmp_path / "none")


def test_a_pipe_or_folder_is_refused_without_waiting(reader: Reader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InvalidArtifact, match="not a regular file"):
            reader.read_header(path)


def test_a_file_that_shrinks_while_it_is_read_is_refused(reader: Reader) -> None:
    with pytest.raises(InvalidArtifact, match="shorter while it was read"):
        reader.parse(reader.good[:30], size=len(reader.good))
