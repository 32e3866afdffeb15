"""Model files against what `package` wants of them, which stops at the first thing it finds."""

from __future__ import annotations

from pathlib import Path

from mrpack.errors import MrpackError
from mrpack.formats.code import find_code
from mrpack.lint.findings import Finding, found, from_error
from mrpack.model.filepath import check_path
from mrpack.packing.plan import Wishes
from mrpack.packing.sources import PLANNERS, detect
from mrpack.packing.walk import Choice, walk
from mrpack.readable import open_file


def lint_files(source: Path) -> list[Finding]:
    """`source`: a file, or a folder as `package` takes it. Headers are read, weights are not."""
    findings = _lint_folder(source) if source.is_dir() else []
    try:
        # Code in files has been looked for; here it must not hide what else is wrong.
        PLANNERS[detect(source)](source, Wishes(allow_code=True))
    except MrpackError as error:
        refused = _refusal(error, source)
        if refused.document not in {finding.document for finding in findings}:
            findings.append(refused)
    return findings


def _lint_folder(folder: Path) -> list[Finding]:
    try:
        files = walk(folder, Choice())
    except MrpackError:
        return []  # the planner says why
    findings = []
    for path, _ in files:
        try:
            check_path(path, path)
        except MrpackError as error:
            findings.append(from_error(error, path, "filepath"))
    try:
        code = find_code(open_file(file, path) for path, file in files)
    except MrpackError as error:
        return [*findings, _refusal(error, folder)]
    return [*findings, *(found(item.path, "", "code", item.reason) for item in code)]


def _refusal(error: MrpackError, source: Path) -> Finding:
    named = str(getattr(error, "where", ""))
    document, where = _place(named, source)
    message = error.message.removeprefix(f"{named}: ")
    return found(document, where, "package", f"{message} ({error.hint})" if error.hint else message)


def _place(named: str, source: Path) -> tuple[str, str]:
    """The file that an error names, as in the folder, and the key in it; else `source`."""
    for end in range(len(named), 0, -1):
        if end < len(named) and named[end] not in ".:[":
            continue
        path = Path(named[:end])
        if path != source and path.is_relative_to(source) and path.exists():
            return str(path.relative_to(source)), named[end:].lstrip(".: ")
    return str(source), ""
