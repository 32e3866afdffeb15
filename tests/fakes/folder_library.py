"""A Library over one folder: `models.json` names the digests, a folder for each digest holds its files."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mrpack.digest import Digest
from mrpack.errors import NotFound, UsageError
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.models.library import LibraryEntry


@dataclass(frozen=True)
class FolderLibrary:
    root: Path

    def add(self, name: str, weights: bytes = b"GGUF fake", model_format: str = "gguf") -> ModelBundle:
        """A model whose one weights file has this content; two names with the same content are aliases."""
        digest = Digest.of(weights)
        (self.root / digest.hex).mkdir(exist_ok=True)
        (self.root / digest.hex / f"model.{model_format}").write_bytes(weights)
        self._write({**self._read(), name: {"digest": str(digest), "format": model_format}})
        return self.find(name)

    def remove(self, name: str) -> None:
        self._write({key: value for key, value in self._read().items() if key != name})

    def find(self, name: str) -> ModelBundle:
        if re.fullmatch(r"\w[\w.:/@-]{,254}", name, re.ASCII) is None:
            raise UsageError(f"bad reference {name[:200]!r}")
        models = self._read()
        found = [
            full
            for full, model in models.items()
            if name in {full, model["digest"], full.rpartition("/")[2].partition(":")[0]}
        ]
        if name in found:
            found = [name]
        if not found:
            raise NotFound(f"no such model: {name}")
        if len({models[full]["digest"] for full in found}) > 1:
            raise UsageError(f"{name} may be any of {', '.join(found)}")
        model = models[found[0]]
        digest = Digest.parse(model["digest"])
        folder = self.root / digest.hex
        return ModelBundle(
            name=found[0],
            digest=digest,
            config=ModelConfig(format=model["format"]),
            folder=folder,
            weights=tuple(sorted(folder.glob("model.*"))),
        )

    def list(self) -> tuple[LibraryEntry, ...]:
        names: dict[str, list[str]] = {}
        models = self._read()
        for name, model in models.items():
            names.setdefault(model["digest"], []).append(name)
        return tuple(
            LibraryEntry(
                names=tuple(aliases),
                digest=Digest.parse(digest),
                config=ModelConfig(format=models[aliases[0]]["format"], parameters="1K", size="9B"),
                created=1700000000,
                size=9,
                mode=self._mode(digest),
                sees=(self.root / Digest.parse(digest).hex / "mmproj.gguf").exists(),
            )
            for digest, aliases in names.items()
        )

    def metadata(self, digest: Digest) -> Mapping[str, str]:
        self.find(str(digest))
        return {"general.name": "fake"}

    def stamp(self) -> Hashable:
        try:
            found = os.stat(f"{self.root}/models.json")
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _mode(self, digest: str) -> str | None:
        file = self.root / Digest.parse(digest).hex / "mrpack.json"
        return json.loads(file.read_text()).get("mode") if file.exists() else None

    @property
    def _file(self) -> Path:
        return self.root / "models.json"

    def _read(self) -> dict[str, dict[str, str]]:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def _write(self, models: dict[str, dict[str, str]]) -> None:
        fresh = self.root / "models.json.new"
        fresh.write_text(json.dumps(models))
        fresh.replace(self._file)
