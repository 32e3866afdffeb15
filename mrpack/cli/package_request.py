"""What the options of `package` ask for, as a request of the verb."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrpack.cli.values import key_values
from mrpack.errors import InvalidArtifact, UsageError, from_os_error
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
        if self.one_file is not None and self.one_file not in SINGLE_FILES:
            raise UsageError(f"--as {self.one_file}: no such form", hint=f"one of {', '.join(SINGLE_FILES)}")
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


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{path} is not a regular file")
        if status.st_size > OVERRIDES_LIMIT:
            raise InvalidArtifact(f"more than {OVERRIDES_LIMIT} bytes", where=str(path))
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


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
