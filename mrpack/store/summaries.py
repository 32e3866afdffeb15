"""What lists show of models, kept by manifest, so that ten thousand need not be opened each time."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from mrpack.content.artifacts import read_model
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import decode_object, encode
from mrpack.store.durable import read_plain, write_atomic
from mrpack.store.layout import OciLayout
from mrpack.version import VERSION

if TYPE_CHECKING:
    from mrpack.model.artifact import ModelArtifact

# `version` is that of the form; what the readers of artifacts find may differ from one mrpack to the next.
_HEADER: Final = {"version": 1, "mrpack": VERSION}
# 10,000 models take 2.2 MB.
_LIMIT: Final = 64 * 1024 * 1024
# `decode_object` takes no more values than these have. Further models are read each time.
_MOST: Final = 50_000
# Characters. A digest has up to 135; what a stranger wrote into a label may have a million.
_TEXT_LIMIT: Final = 200
_TYPES: Final = {(*[str] * 6, int, int), (*[str] * 6, int, type(None))}


class Summary(NamedTuple):
    """Labels as the artifact carries them, empty where it says nothing; `size` are the bytes of all files.

    `config` is the digest of what they were read from, besides the manifest. A row of the file.
    """

    format: str
    parameters: str
    quantization: str
    architecture: str
    created: str
    config: str
    size: int
    context_size: int | None

    @classmethod
    def of(cls, artifact: ModelArtifact) -> Self:
        config = artifact.config
        return cls(
            format=config.format,
            parameters=config.parameters,
            quantization=config.quantization,
            architecture=config.architecture,
            created=config.created,
            config=str(artifact.manifest.config.digest),
            size=sum(file.descriptor.size for file in artifact.files),
            context_size=config.context_size,
        )


class Summaries:
    """Of one layout, with `.summaries.json` in it, which is for display alone.

    Wrong, foreign or absent, the file is as good as empty; where it cannot be written, it is not. It has no
    lock: of two who write at once the last one wins, and the next to read adds what is missing.
    """

    def __init__(self, layout: OciLayout) -> None:
        self._layout = layout
        self._path = layout.root / ".summaries.json"

    def of(self, manifests: Iterable[Descriptor]) -> dict[Digest, Summary | MrpackError]:
        """Of each manifest, or why it cannot be read. Blobs that were read once are only looked for."""
        known, present = self._read(), self._layout.blobs.names()
        found: dict[Digest, Summary | MrpackError] = {}
        kept = {}
        for manifest in manifests:
            name = str(manifest.digest)
            summary = known.get(name)
            if summary is None or not {manifest.digest.hex, summary.config.partition(":")[2]} <= present:
                try:
                    summary = Summary.of(read_model(self._layout, manifest))
                except MrpackError as error:
                    found[manifest.digest] = error
                    continue
            found[manifest.digest] = kept[name] = summary
        self._replace(known, kept)
        return found

    def keep(self, live: Iterable[Digest]) -> None:
        """Forget the others."""
        known, names = self._read(), set(map(str, live))
        self._replace(known, {name: summary for name, summary in known.items() if name in names})

    def _read(self) -> dict[str, Summary]:
        try:
            document = decode_object(read_plain(self._path, _LIMIT), "summaries", limit=_LIMIT)
        except (OSError, InvalidArtifact):
            return {}
        rows = document.pop("models", None)
        if document != _HEADER or not isinstance(rows, dict):
            return {}
        return {name: Summary._make(row) for name, row in rows.items() if _is_summary(row)}

    def _replace(self, known: Mapping[str, Summary], wanted: Mapping[str, Summary]) -> None:
        fitting = ((name, row) for name, row in wanted.items() if name in known or _is_summary([*row]))
        models = dict(itertools.islice(fitting, _MOST))
        # Without the folder nobody has written here yet, and it should not be ours when another user does.
        if models != known and self._layout.blobs.ingest_folder.is_dir():
            with contextlib.suppress(OSError):
                content = encode({**_HEADER, "models": models})
                write_atomic(self._path, content, ingest=self._layout.blobs.ingest_folder)


def _is_summary(row: object) -> bool:
    if not isinstance(row, list) or tuple(map(type, row)) not in _TYPES:
        return False
    *texts, size, context_size = row
    return max(map(len, texts)) <= _TEXT_LIMIT and size >= 0 and (context_size or 0) >= 0
