"""The options of `package`, declared once, and the request they make."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from mrpack.cli.values import FILE, key_values, local_models
from mrpack.errors import InvalidArtifact, NotFound, UsageError, from_os_error
from mrpack.hub import is_hub_reference
from mrpack.model.overrides import (
    OVERRIDES_LIMIT,
    Overrides,
    from_hf_overrides,
    parse_overrides,
    parse_setting,
)
from mrpack.model.timestamp import format_ns
from mrpack.packing.plan import Extras, FileFacts, Wishes
from mrpack.packing.sources import PLANNERS, SINGLE_FILES
from mrpack.packing.walk import Choice
from mrpack.verbs.package import PackageRequest

_DIALECTS: Final = click.Choice(["docker", "cncf"])

_OPTIONS: Final = (
    click.option("--gguf", type=FILE, metavar="FILE", help="A GGUF file, any shard of a set, or a folder."),
    click.option(
        "--safetensors", "--safetensors-dir", type=FILE, metavar="FOLDER", help="A Safetensors model folder."
    ),
    click.option("--dduf", type=FILE, metavar="FILE", help="A DDUF file."),
    click.option("--diffusers", type=FILE, metavar="FOLDER", help="A Diffusers pipeline folder."),
    click.option(
        "--as",
        "one_file",
        type=click.Choice(list(SINGLE_FILES)),
        help="Write a Diffusers folder as one DDUF file first.",
    ),
    click.option(
        "--from",
        "stored",
        metavar="MODEL",
        shell_complete=local_models,
        help="A local model; no weight of it is read.",
    ),
    click.option(
        "--drop",
        multiple=True,
        metavar="PATH|ROLE",
        help="With --from: leave out a file, or all of a role; repeatable.",
    ),
    click.option(
        "-l", "--license", "licenses", type=FILE, multiple=True, metavar="FILE", help="A licence; repeatable."
    ),
    click.option("--chat-template", type=FILE, metavar="FILE", help="A Jinja chat template."),
    click.option("--mmproj", type=FILE, metavar="FILE", help="The multimodal projector, a GGUF file."),
    click.option(
        "--lora",
        "adapters",
        type=FILE,
        multiple=True,
        metavar="FILE|DIR",
        help="A LoRA: in GGUF or Safetensors, or a folder of PEFT; repeatable.",
    ),
    click.option(
        "--context-size", type=int, metavar="N", help="Context size in tokens. [default: the model's own]"
    ),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A run-time setting; repeatable."
    ),
    click.option("--overrides", type=FILE, metavar="FILE", help="A document of run-time settings."),
    click.option(
        "--hf-overrides",
        "--hf_overrides",
        metavar="JSON",
        help="Overrides of config.json, and vLLM settings.",
    ),
    click.option(
        "--format", "dialect", type=_DIALECTS, default="docker", show_default=True, help="Artifact dialect."
    ),
    click.option("--also", type=_DIALECTS, help="A second manifest over the same layers, as MODEL-DIALECT."),
    click.option("--auto-tag", is_flag=True, help="Tag MODEL by size and quantization, such as 135M-Q4_1."),
    click.option(
        "--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="Of the manifest; repeatable."
    ),
    click.option(
        "--include", multiple=True, metavar="GLOB", help="Of a folder, only files that match; repeatable."
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Of a folder, no files that match; repeatable."
    ),
    click.option("--quantization", metavar="NAME", help="Which GGUF model of a folder, such as Q4_K_M."),
    click.option("--allow-code", is_flag=True, help="Pack files that run code when the model is loaded."),
    click.option(
        "--created",
        metavar="TIME",
        help="Creation time, RFC 3339. [default: SOURCE_DATE_EPOCH, else 1970-01-01T00:00:00Z]",
    ),
    click.option(
        "--file-metadata",
        type=click.Choice(["normalized", "preserve"]),
        default="normalized",
        show_default=True,
        help="Same digest everywhere, or the files' own modes and times as Docker Model Runner writes them.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageOptions:
    """One field an option, under the option's name."""

    gguf: Path | None
    safetensors: Path | None
    dduf: Path | None
    diffusers: Path | None
    one_file: str | None
    stored: str | None
    drop: tuple[str, ...]
    licenses: tuple[Path, ...]
    chat_template: Path | None
    mmproj: Path | None
    adapters: tuple[Path, ...]
    context_size: int | None
    settings: tuple[str, ...]
    overrides: Path | None
    hf_overrides: str | None
    dialect: str
    also: str | None
    auto_tag: bool
    annotations: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    quantization: str | None
    allow_code: bool
    created: str | None
    file_metadata: str

    def request(
        self, arguments: tuple[str, ...], source_date_epoch: str | None
    ) -> tuple[PackageRequest, str]:
        """The request, and the name of the model. Raises UsageError, NotFound, InvalidArtifact."""
        kind, source, name = self._source(arguments)
        self._refuse_without_effect(source)
        if self.also == self.dialect:
            raise UsageError(f"--also {self.also} is what --format writes already")
        facts = FileFacts(
            preserve=self.file_metadata == "preserve", mtime_ns=_source_date_ns(source_date_epoch)
        )
        wishes = Wishes(
            extras=Extras(
                licenses=self.licenses,
                chat_template=self.chat_template,
                mmproj=self.mmproj,
                adapters=self.adapters,
            ),
            context_size=self.context_size,
            overrides=self._checked_settings(),
            facts=facts,
            choice=Choice(include=self.include, exclude=self.exclude),
            quantization=self.quantization,
            allow_code=self.allow_code,
            annotations=key_values(self.annotations, "annotation"),
        )
        hub = (
            str(arguments[0])
            if kind is None and source is not None and is_hub_reference(arguments[0])
            else None
        )
        request = PackageRequest(
            source=None if hub else source,
            hub=hub,
            kind=kind,
            stored=self.stored,
            drop=self.drop,
            one_file=self.one_file,
            wishes=wishes,
            created=self.created,
            dialect=self.dialect,
            also=self.also,
            auto_tag=self.auto_tag,
        )
        return request, name

    def _source(self, arguments: tuple[str, ...]) -> tuple[str | None, Path | None, str]:
        """`SOURCE MODEL`, or one option that names the source, and MODEL."""
        paths: dict[str, Path | None] = {kind: getattr(self, kind) for kind in PLANNERS}
        named = [f"--{kind}" for kind, path in paths.items() if path is not None]
        named += ["--from"] if self.stored is not None else []
        if len(named) > 1:
            raise UsageError(f"{named[0]} and {named[1]} are two sources", hint="give one")
        if len(arguments) != (1 if named else 2):
            raise UsageError(
                "give SOURCE and MODEL, or --gguf FILE and MODEL", hint="see `mrpack package --help`"
            )
        if self.stored is not None:
            return None, None, arguments[0]
        for kind, path in paths.items():
            if path is not None:
                return kind, path, arguments[0]
        if not arguments[0]:
            raise UsageError("SOURCE is empty", hint="give a file or folder; `.` is the current one")
        return None, Path(arguments[0]), arguments[1]

    def _refuse_without_effect(self, source: Path | None) -> None:
        if self.stored is None:
            if self.drop:
                raise UsageError("--drop goes with --from")
            walked = {"--include": self.include, "--exclude": self.exclude}
            if source is not None and source.is_file() and any(walked.values()):
                named = next(option for option, value in walked.items() if value)
                raise UsageError(f"{named} chooses files of a folder, and {source} is a file")
            return
        without_effect = {
            "--include": self.include,
            "--exclude": self.exclude,
            "--quantization": self.quantization,
            "--as": self.one_file,
            "--file-metadata": self.file_metadata == "preserve",
        }
        for option, given in without_effect.items():
            if given:
                raise UsageError(
                    f"{option} does not go with --from",
                    hint="it looks at files, and these are packaged already; --drop leaves some out",
                )

    def _checked_settings(self) -> Overrides:
        settings = self._settings()
        said = settings.values.get("context_size")
        if None not in (said, self.context_size) and said != self.context_size:
            raise UsageError(f"--context-size {self.context_size}, and context_size={said} in the settings")
        return settings

    def _settings(self) -> Overrides:
        """The document, then `--hf-overrides`, then each `--set`; the later counts."""
        result = Overrides()
        if self.overrides is not None:
            result = result.with_settings(parse_overrides(_read(self.overrides), str(self.overrides)))
        if self.hf_overrides is not None:
            result = result.with_settings(from_hf_overrides(_json_object(self.hf_overrides)))
        for text in self.settings:
            # None stays: with --from it takes a setting of the stored model away.
            result = Overrides({**result.values, **parse_setting(text).values})
        return result


def package_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        if status.st_size > OVERRIDES_LIMIT:
            raise InvalidArtifact(f"more than {OVERRIDES_LIMIT} bytes", where=str(path))
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except OSError as error:
        raise from_os_error(error, "read overrides") from error


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise UsageError(f"--hf-overrides is not JSON: {text[:80]!r}") from None
    if not isinstance(value, dict):
        raise UsageError(f"--hf-overrides is not a JSON object: {text[:80]!r}")
    return value


def _source_date_ns(text: str | None) -> int:
    """reproducible-builds.org, SOURCE_DATE_EPOCH: seconds since 1970 as a decimal integer."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r}")
    nanoseconds = int(text[:20]) * 1_000_000_000
    try:
        format_ns(nanoseconds)
    except InvalidArtifact as error:
        raise UsageError(f"SOURCE_DATE_EPOCH: {error.message}") from None
    return nanoseconds
