"""Blobs that arrive in pieces."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from mrpack.digest import BytesSource, Digest
from mrpack.errors import HostRefused, IntegrityError
from mrpack.store.blobs import BlobFolder
from mrpack.store.durable import LINK_LEAST
from mrpack.store.ingest import Ingest

CONTENT = bytes(range(256)) * 100
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "layout")


def write(ingest: Ingest, content: bytes) -> None:
    for start in range(0, len(content), 1000):
        ingest.write(memoryview(content)[start : start + 1000])


def left(blobs: BlobFolder) -> list[Path]:
    return list(blobs.ingest_folder.iterdir())


def test_pieces_become_a_blob_that_is_whole_and_read_only(blobs: BlobFolder) -> None:
    with Ingest(blobs) as ingest:
        write(ingest, CONTENT)
        assert not blobs.path(DIGEST).exists()
        ingest.finish(DIGEST)
    assert ingest.count == blobs.size(DIGEST) == len(CONTENT)
    assert blobs.path(DIGEST).read_bytes() == CONTENT
    assert stat.S_IMODE(blobs.path(DIGEST).stat().st_mode) == 0o444
    assert left(blobs) == []


def test_another_digest_makes_nothing_visible(blobs: BlobFolder) -> None:
    with Ingest(blobs) as ingest:
        write(ingest, CONTENT[:-1])
        with pytest.raises(IntegrityError):
            ingest.finish(DIGEST)
    assert list(blobs.digests()) == []
    assert left(blobs) == []


def test_the_algorithm_may_be_known_at_the_end_alone(blobs: BlobFolder) -> None:
    digest = Digest.parse("sha512:" + hashlib.sha512(CONTENT).hexdigest())
    with Ingest(blobs) as ingest:
        write(ingest, CONTENT)
        ingest.finish(digest)
    assert blobs.path(digest).read_bytes() == CONTENT


def test_what_is_here_already_is_not_replaced(blobs: BlobFolder) -> None:
    blobs.add(DIGEST, len(CONTENT), lambda offset: BytesSource(CONTENT[offset:]))
    before = blobs.path(DIGEST).stat().st_ino
    with Ingest(blobs) as ingest:
        write(ingest, CONTENT)
        ingest.finish(DIGEST)
    assert blobs.path(DIGEST).stat().st_ino == before
    assert left(blobs) == []


def test_gc_leaves_a_running_ingest_alone_and_takes_a_dead_one(blobs: BlobFolder) -> None:
    with Ingest(blobs) as ingest:
        write(ingest, CONTENT)
        assert list(blobs.leftovers()) == []
        (blobs.ingest_folder / "dead.pieces").write_bytes(b"x")
        assert [(path.name, size) for path, size in blobs.leftovers()] == [("dead.pieces", 1)]


def test_a_closed_ingest_takes_nothing(blobs: BlobFolder) -> None:
    ingest = Ingest(blobs)
    ingest.close()
    ingest.close()
    with pytest.raises(HostRefused):
        write(ingest, CONTENT)


@pytest.mark.parametrize("how", ["add", "ingest"])
def test_a_linked_blob_that_was_edited_is_healed_by_writing_it_again(
    blobs: BlobFolder, tmp_path: Path, how: str
) -> None:
    large = os.urandom(LINK_LEAST)
    digest = Digest.of(large)
    mine = tmp_path / "mine.gguf"
    mine.write_bytes(large)
    blobs.adopt(digest, len(large), mine)
    if mine.stat().st_nlink == 1:
        pytest.skip("this file system shares extents instead of linking")
    mine.write_bytes(large[::-1])
    os.utime(mine, ns=(1, 1))  # within the grain of the clock it would have the time it had
    assert not blobs.has(digest, len(large))
    if how == "add":
        blobs.add(digest, len(large), lambda offset: BytesSource(large[offset:]))
    else:
        with Ingest(blobs) as ingest:
            write(ingest, large)
            ingest.finish(digest)
    assert blobs.has(digest, len(large))
    assert blobs.path(digest).read_bytes() == large
    assert mine.read_bytes() == large[::-1]
