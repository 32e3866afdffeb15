"""The verb that makes several quantizations of one GGUF model and packages each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mrpack.content.progress import Counted, Report, silent
from mrpack.errors import EngineFailed, NotFound, Unsupported, UsageError
from mrpack.formats.gguf import describe, read_header
from mrpack.model.quantization import QUANTIZATIONS, Quantization, find_quantization
from mrpack.oci.reference import Reference
from mrpack.packing.plan import Plan
from mrpack.packing.plan_gguf import plan_gguf
from mrpack.packing.quantizer import QuantizeJob, Quantizer
from mrpack.packing.sources import detect
from mrpack.verbs.package import Packaged, PackageRequest, package, tagged
from mrpack.verbs.scratch import scratch_file
from mrpack.workspace import Access, Workspace

_GROUP: Final = "mrpack.quantizers"
# What nothing was lost in yet.
_WHOLE: Final = frozenset({"F32", "F16", "BF16"})
_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeRequest:
    """`quantizations` are names of rows of QUANTIZATIONS; the rest as in QuantizeJob."""

    quantizations: Sequence[str]
    importance: Path | None = None
    requantize: bool = False


def find_quantizer(home: Path, environment: Mapping[str, str]) -> Quantizer:
    """The first that can work here, of the packages installed.

    Raises Unsupported, with what to install.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415  # 40 ms that `package` alone does not need

    refusal = Unsupported("no quantizer is installed")
    for point in sorted(entry_points(group=_GROUP), key=lambda point: point.name):
        make: Callable[[Path, Mapping[str, str]], Any] = point.load()
        try:
            found: Quantizer = make(home, environment)
        except Unsupported as error:
            refusal = error
        else:
            return found
    raise refusal


def package_quantized(
    workspace: Workspace,
    request: PackageRequest,
    name: str,
    wanted: QuantizeRequest,
    *,
    find: Callable[[], Quantizer],
    push: bool = False,
    dry_run: bool = False,
    access: Access | None = None,
    jobs: int | None = None,
    report: Report = silent,
) -> tuple[Packaged, ...]:
    """One artifact a quantization, each as `package` makes it, tagged by size and quantization.

    One after another: of the files that are made, one at a time takes space. The quantization that the source
    has already is packaged from the source itself. `find` is called when a quantizer is needed.

    Raises:
        UsageError, Unsupported, InvalidArtifact, NotFound: before anything is made.
        EngineFailed: the quantizer failed; those that were packaged before stay.
    """
    rows = list(dict.fromkeys(map(_row, wanted.quantizations)))
    source = request.source
    if source is None or (request.kind or detect(source)) != "gguf":
        raise UsageError("only GGUF files are quantized", hint="give --gguf FILE")
    planned = plan_gguf(source, request.wishes)
    tagged(Reference.parse(name, workspace.settings.references), name, planned.config)
    own = find_quantization(planned.config.quantization)
    made = [row for row in rows if row is not own]
    _check(planned, own, made, wanted)
    quantizer = find() if made else None
    first = planned.layers[0].content
    assert isinstance(first, Path)  # noqa: S101  # plan_gguf plans files
    results = []
    for row in rows:
        one = replace(request, kind="gguf", auto_tag=True)
        with scratch_file(workspace, ".gguf") as path:
            if quantizer is not None and row is not own:
                job = QuantizeJob(
                    source=first,
                    target=path,
                    quantization=row,
                    importance=wanted.importance,
                    requantize=wanted.requantize,
                )
                _make(quantizer, job, report)
                wishes = replace(
                    request.wishes, file_name=file_name(planned.layers[0].path, own, row), quantization=None
                )
                one = replace(one, source=path, wishes=wishes)
            results.append(
                package(
                    workspace,
                    one,
                    name,
                    push=push,
                    dry_run=dry_run,
                    access=access,
                    jobs=jobs,
                    report=report,
                )
            )
    return tuple(results)


def _row(text: str) -> Quantization:
    row = find_quantization(text)
    if row is None or row.removed:
        reason = row.note if row else "no such quantization"
        names = ", ".join(row.name for row in QUANTIZATIONS if not row.removed)
        raise UsageError(f"{text[:80]!r}: {reason}", hint=f"one of {names}")
    return row


def _check(
    planned: Plan, own: Quantization | None, made: Sequence[Quantization], wanted: QuantizeRequest
) -> None:
    if made and not wanted.requantize and (own is None or own.name not in _WHOLE):
        raise UsageError(
            f"the source is {planned.config.quantization}: quantizing it again loses more than once",
            hint="take the F16, BF16 or F32 file, or say --allow-requantize",
        )
    if wanted.importance is not None and not wanted.importance.is_file():
        raise NotFound(f"no such file: {wanted.importance}")
    for row in made:
        if row.needs_importance and wanted.importance is None:
            raise UsageError(f"{row.name} needs an importance matrix", hint="give --imatrix FILE")


def _make(quantizer: Quantizer, job: QuantizeJob, report: Report) -> None:
    what = f"quantizing {job.quantization.name}"
    quantizer.quantize(job, lambda done, count: report(Counted(what, done, count, "tensors")))
    label = describe([read_header(job.target)]).quantization
    if find_quantization(label) is not job.quantization:
        raise EngineFailed(f"{quantizer.name} made {label} instead of {job.quantization.name}")


def file_name(source: str, own: Quantization | None, wanted: Quantization) -> str:
    """`SmolLM2.F16.gguf` becomes `SmolLM2.Q4_K_M.gguf`; a name without a quantization gets one."""
    stem = _SHARD.sub("", source.removesuffix(".gguf"))
    match = re.search(r"[-_.]([A-Za-z0-9_]+)$", stem)
    while match and find_quantization(match[1]) is None and "_" in match[1]:
        # `_` parts words, and is in names of quantizations: look at what is behind the next one.
        at = match.start(1) + match[1].index("_")
        match = re.compile(r"_([A-Za-z0-9_]+)$").search(stem, at)
    if match and own is not None and find_quantization(match[1]) is own:
        return f"{stem[: match.start(1)]}{wanted.name}.gguf"
    return f"{stem}-{wanted.name}.gguf"
