"""A ModelShelf over a FolderLibrary; what it pulls comes from nowhere, in two steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mrpack.content.progress import Advanced, Finished, Outcome, Planned, Report
from mrpack.digest import Digest
from mrpack.errors import NotFound, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack_runtime.models.shelf import Dropped
from tests.fakes.folder_library import FolderLibrary


@dataclass
class FolderShelf:
    """`localhost/gone:…` is not found anywhere, and `localhost/broken:…` breaks off half-way.

    `localhost/slow:…` goes on when there is a file `go` in the library's folder.
    """

    library: FolderLibrary
    pushed: list[str] = field(default_factory=list)
    freed: int = 7

    def pull(self, name: str, report: Report) -> str:
        if "gone" in name:
            raise NotFound(f"no such model: {name}")
        content = b"GGUF pulled " + name.encode()
        blob = Descriptor(media_type="application/octet-stream", digest=Digest.of(content), size=len(content))
        report(Planned((blob,)))
        report(Advanced(blob, 5))
        while "slow" in name and not (self.library.root / "go").exists():
            time.sleep(0.01)
        if "broken" in name:
            raise RegistryUnavailable("the registry broke off")
        report(Finished(blob, Outcome.TRANSFERRED))
        self.library.add(name, content)
        return name

    def push(self, name: str, report: Report) -> str:
        digest = self.library.find(name).digest
        report(Planned(()))
        self.pushed.append(name)
        return str(digest)

    def tag(self, name: str, new: str) -> str:
        bundle = self.library.find(name)
        self.library.add(new, bundle.weights[0].read_bytes())
        return new

    def remove(self, name: str) -> Dropped:
        bundle = self.library.find(name)
        self.library.remove(bundle.name)
        left = {entry.digest for entry in self.library.list()}
        gone = () if bundle.digest in left else (str(bundle.digest),)
        return Dropped(untagged=(bundle.name,), deleted=gone)

    def free(self) -> int:
        return self.freed

    def load(self, archive: Path, report: Report) -> tuple[str, ...]:
        name, _, content = archive.read_bytes().partition(b"\n")
        report(Planned(()))
        self.library.add(name.decode(), content)
        return (name.decode(),)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        path = self.library.root / "scratch"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def export(self, name: str, archive: Path) -> None:
        bundle = self.library.find(name)
        archive.write_bytes(bundle.name.encode() + b"\n" + bundle.weights[0].read_bytes())
