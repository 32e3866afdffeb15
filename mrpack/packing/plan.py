"""From files on disk to the list of layers an artifact will have."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, UsageError, from_os_error
from mrpack.formats.gguf import check_shards, describe, find_shards, read_header
from mrpack.model.config import CONTEXT_SIZE_LIMIT, ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.layer import FileMetadata, LayerRole, PlannedLayer

# `normalized`: the same bytes on every machine, whatever the umask and the clock.
NORMAL_MODE: Final = 0o644
# A licence or template is read into memory by every tool that shows it.
_TEXT_LIMIT: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be packed; `folder`: the model is a folder of files, each under its own path."""

    config: ModelConfig
    layers: tuple[PlannedLayer, ...]
    folder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Files that go beside the weights, in the order given."""

    licenses: tuple[Path, ...] = ()
    chat_template: Path | None = None
    mmproj: Path | None = None
    adapters: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """How file metadata is written: None normalises modification times to `mtime_ns`, else they are kept."""

    preserve: bool = False
    mtime_ns: int = 0

    def of(self, path: Path) -> FileMetadata:
        """Raises NotFound, HostRefused, or UsageError when it is no regular file."""
        try:
            status = path.stat()
        except OSError as error:
            raise from_os_error(error, "package") from error
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        return FileMetadata(
            name=path.name,
            mode=stat.S_IMODE(status.st_mode) & 0o777 if self.preserve else NORMAL_MODE,
            mtime_ns=status.st_mtime_ns if self.preserve else self.mtime_ns,
            size=status.st_size,
        )


def plan_gguf(path: Path, extras: Extras, *, context_size: int | None, facts: FileFacts) -> Plan:
    """One GGUF file, or all shards of a set of which any is given.

    Raises:
        NotFound: the file, or a shard of the set, is missing.
        InvalidArtifact: not a GGUF model; the message says what it is instead.
    """
    facts.of(path)
    shards = find_shards(path)
    headers = [read_header(shard) for shard in shards]
    for shard, header in zip(shards, headers, strict=True):
        if header.kind != "model":
            raise InvalidArtifact(
                f"is a GGUF of kind {header.kind!r}, not a model",
                where=str(shard),
                hint=_KIND_HINTS.get(header.kind),
            )
    check_shards(shards, headers)
    config = describe(headers)
    layers = [
        PlannedLayer(
            path=shard.name,
            role=LayerRole.WEIGHTS,
            format=config.format,
            content=shard,
            metadata=facts.of(shard),
        )
        for shard in shards
    ]
    return _finish(config, [*layers, *_extra_layers(extras, facts)], context_size, folder=False)


_KIND_HINTS: Final = {
    "mmproj": "pass it with --mmproj beside the model",
    "adapter": "pass it with --lora beside the model",
}


def _extra_layers(extras: Extras, facts: FileFacts) -> list[PlannedLayer]:
    """In the fixed order of Docker Model Runner: licences, chat template, projector; then adapters."""
    wanted: list[tuple[Path, LayerRole, str]] = [(path, LayerRole.LICENSE, "") for path in extras.licenses]
    if extras.chat_template:
        wanted.append((extras.chat_template, LayerRole.CHAT_TEMPLATE, ""))
    if extras.mmproj:
        wanted.append((extras.mmproj, LayerRole.MMPROJ, "gguf"))
    wanted += [(path, LayerRole.ADAPTER, "gguf") for path in extras.adapters]
    layers = []
    for path, role, format_name in wanted:
        metadata = facts.of(path)
        if format_name:
            _check_kind(path, role)
        else:
            _check_text(path, metadata.size)
        layers.append(
            PlannedLayer(path=path.name, role=role, format=format_name, content=path, metadata=metadata)
        )
    return layers


def _check_kind(path: Path, role: LayerRole) -> None:
    kind = read_header(path).kind
    if kind != role.value:
        raise InvalidArtifact(f"is a GGUF of kind {kind!r}, not {role.value!r}", where=str(path))


def _check_text(path: Path, size: int) -> None:
    """A licence or template is UTF-8 text of sane size."""
    if size > _TEXT_LIMIT:
        raise InvalidArtifact(
            f"{size} bytes; a licence or template has at most {_TEXT_LIMIT}", where=str(path)
        )
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        raise InvalidArtifact("is not UTF-8 text", where=str(path)) from None
    except OSError as error:
        raise from_os_error(error, "package") from error


def _finish(
    config: ModelConfig, layers: Sequence[PlannedLayer], context_size: int | None, *, folder: bool
) -> Plan:
    if context_size is not None:
        if not 0 < context_size <= CONTEXT_SIZE_LIMIT:
            raise UsageError(f"context size {context_size} is not between 1 and {CONTEXT_SIZE_LIMIT} tokens")
        config = replace(config, context_size=context_size)
    check_tree([layer.path for layer in layers])
    return Plan(config=config, layers=tuple(layers), folder=folder)
