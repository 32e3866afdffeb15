"""What will be packed: the plan, the wishes it follows, and the parts all plans share."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol

from mrpack.errors import InvalidArtifact, UsageError, from_os_error
from mrpack.formats.code import Finding, find_code
from mrpack.model.artifact import CODE
from mrpack.model.config import CONTEXT_SIZE_LIMIT, ModelConfig
from mrpack.model.filepath import check_tree
from mrpack.model.layer import FileMetadata, LayerRole, PlannedLayer
from mrpack.model.overrides import OVERRIDES_PATH, Overrides, encode_overrides
from mrpack.packing.walk import Choice
from mrpack.readable import ReadableFile

# `normalized`: the same bytes on every machine, whatever the umask and the clock.
NORMAL_MODE: Final = 0o644

# A title takes about a seventh of a layer's place in the manifest, which may have 4 MiB in all.
_TITLED_LIMIT: Final = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """Files that go beside the weights, in the order given."""

    licenses: tuple[Path, ...] = ()
    chat_template: Path | None = None
    mmproj: Path | None = None
    adapters: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """How file metadata is written: normalised to one mode and `mtime_ns`, or kept as the files have it."""

    preserve: bool = False
    mtime_ns: int = 0

    def of(self, path: Path) -> FileMetadata:
        """Raises NotFound, HostRefused, or UsageError when it is no regular file."""
        try:
            status = path.stat()
        except OSError as error:
            raise from_os_error(error, f"package {path}") from error
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        return FileMetadata(
            name=path.name,
            mode=stat.S_IMODE(status.st_mode) & 0o777 if self.preserve else NORMAL_MODE,
            mtime_ns=status.st_mtime_ns if self.preserve else self.mtime_ns,
            size=status.st_size,
        )

    def of_content(self, name: str, content: bytes) -> FileMetadata:
        """Of a file that exists only in the artifact."""
        return FileMetadata(name=name, mode=NORMAL_MODE, mtime_ns=self.mtime_ns, size=len(content))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the user wants beside the model files themselves.

    `context_size` in tokens goes into the config alone; `overrides` become mrpack.json. `choice` picks files
    of a folder, `quantization` one of several GGUF models in it. `file_name` is what a model that is one file
    is called, None for as it is called on this disk. Code is refused unless `allow_code`. `annotations` are
    those of the manifest.
    """

    extras: Extras = field(default_factory=Extras)
    context_size: int | None = None
    overrides: Overrides = field(default_factory=Overrides)
    facts: FileFacts = field(default_factory=FileFacts)
    choice: Choice = field(default_factory=Choice)
    quantization: str | None = None
    file_name: str | None = None
    allow_code: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)


class ContentCheck(Protocol):
    """Looks at the content of one file while it is hashed, so that nobody has to read it again."""

    def update(self, chunk: memoryview) -> None:
        """The next bytes, from the start of the file to its end. Raises IntegrityError, InvalidArtifact."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`folder`: the model is a folder of files, each under its own path. `code`: files that run code.

    `checks` are started when a file is hashed. `titles`: layers carry their path as ORAS reads it too.
    """

    config: ModelConfig
    layers: tuple[PlannedLayer, ...]
    folder: bool
    code: tuple[str, ...] = ()
    checks: Mapping[Path, Callable[[], ContentCheck]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    titles: bool = False


def finish(
    config: ModelConfig,
    layers: Sequence[PlannedLayer],
    wishes: Wishes,
    *,
    folder: bool,
    code: tuple[str, ...] = (),
) -> Plan:
    """Add overrides and context size, and check that the files can lie side by side anywhere.

    Raises:
        UsageError: the context size is out of range.
        InvalidArtifact: a file name that some system does not take, or two that are one there.
    """
    size = wishes.context_size
    if size is not None and not 0 < size <= CONTEXT_SIZE_LIMIT:
        raise UsageError(f"context size {size} is not between 1 and {CONTEXT_SIZE_LIMIT} tokens")
    # -1 and 0 there mean "as trained", for which the config has no word.
    mirrored = size or wishes.overrides.values.get("context_size")
    if mirrored is not None and mirrored > 0:
        config = replace(config, context_size=mirrored)
    overrides = wishes.overrides
    if size is not None and "context_size" in overrides.values:
        overrides = Overrides({**overrides.values, "context_size": size})
    layers = [layer for layer in layers if not (overrides and layer.path == OVERRIDES_PATH)]
    if overrides:
        layers.append(overrides_layer(overrides, wishes.facts))
    try:
        check_tree([layer.path for layer in layers])
    except InvalidArtifact as error:
        error.hint = "rename the file" + (", or leave it out with --exclude" if folder else "")
        raise
    annotations = dict(wishes.annotations)
    if code:
        annotations[CODE] = ",".join(code)
    return Plan(
        config=config,
        layers=tuple(layers),
        folder=folder,
        code=code,
        annotations=annotations,
        titles=not wishes.facts.preserve and len(layers) <= _TITLED_LIMIT,
    )


def refuse_quantization(wishes: Wishes) -> None:
    """Of formats that hold one quantization: raises UsageError when one is asked for."""
    if wishes.quantization is not None:
        raise UsageError(
            f"--quantization {wishes.quantization} chooses one of several GGUF models, and this is none",
            hint="leave it out",
        )


def refuse_context_size(wishes: Wishes) -> None:
    """Of pipelines, which make images: raises UsageError when one is asked for."""
    if wishes.context_size is not None:
        raise UsageError(
            f"--context-size {wishes.context_size} is for language models, and this is a Diffusers pipeline"
        )


def overrides_layer(overrides: Overrides, facts: FileFacts) -> PlannedLayer:
    content = encode_overrides(overrides)
    return PlannedLayer(
        path=OVERRIDES_PATH,
        role=LayerRole.OVERRIDES,
        format="",
        content=content,
        metadata=facts.of_content(OVERRIDES_PATH, content),
    )


def refuse_code(files: Iterable[ReadableFile], wishes: Wishes) -> tuple[str, ...]:
    """The paths of files that would run code, when the user allows them.

    Raises InvalidArtifact, naming the first, when not.
    """
    return refuse_findings(find_code(files), wishes)


def refuse_findings(findings: Sequence[Finding], wishes: Wishes) -> tuple[str, ...]:
    """As `refuse_code`, of files that were looked at already. Raises InvalidArtifact."""
    if findings and not wishes.allow_code:
        first = findings[0]
        more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
        raise InvalidArtifact(
            f"carries code: {first.reason}{more}",
            where=first.path,
            hint="--exclude it, convert it to Safetensors, or say --allow-code",
        )
    return tuple(dict.fromkeys(finding.path for finding in findings))
