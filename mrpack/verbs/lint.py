"""The verb that checks an artifact, or model files before they become one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mrpack.content.artifacts import read_small
from mrpack.content.documents import NESTING_LIMIT
from mrpack.content.ports import Source
from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, NotFound
from mrpack.lint import Finding, lint_artifact, lint_files
from mrpack.lint.findings import found, from_error
from mrpack.lint.schemas import check_schema
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT, decode_object
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import INDEXES
from mrpack.targets import is_place, open_source
from mrpack.workspace import Access, Workspace

# No name of a model begins so.
_PATH_LIKE: Final = ("/", "./", "../")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """`digest`: of the artifact; None when `name` is a file or folder."""

    name: str
    digest: str | None
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Stable keys."""
        return {
            "name": self.name,
            "digest": self.digest,
            "findings": [finding.to_json() for finding in self.findings],
        }


def lint(workspace: Workspace, target: str, *, remote: bool = False, access: Access | None = None) -> Linted:
    """Check `target`: a file or folder that is there, else a local model; `oci:…`; with `remote` a reference.

    Nothing is changed, and no weight is read. Findings are no error here.

    Raises:
        NotFound, UsageError: there is nothing of that name.
        IntegrityError, RegistryUnavailable, AccessDenied: a document cannot be read as it was pushed.
    """
    if remote or is_place(target):
        origin = open_source(workspace, target, access)
        return _lint_artifact(origin.source, origin.source.resolve(origin.ref), origin.name)
    path = Path(target)
    if path.exists():
        return Linted(name=target, digest=None, findings=tuple(lint_files(path)))
    if target.startswith(_PATH_LIKE):
        raise NotFound(f"no such file or folder: {target}")
    stored = workspace.store.find(target)
    return _lint_artifact(workspace.store.layout, stored.manifest, str(stored.reference))


def _lint_artifact(source: Source, root: Descriptor, name: str) -> Linted:
    return Linted(name=name, digest=str(root.digest), findings=tuple(_lint_document(source, root, set())))


def _lint_document(source: Source, root: Descriptor, seen: set[Digest], depth: int = 0) -> list[Finding]:
    """Nothing of what was `seen`: an index may name it many times over."""
    if root.digest in seen:
        return []
    seen.add(root.digest)
    raw = read_small(source, root, MANIFEST_LIMIT)
    if root.media_type not in INDEXES:
        return lint_artifact(raw, lambda blob, limit: read_small(source, blob, limit))
    if depth == NESTING_LIMIT:
        return [found("index", "", "index", "nested too deeply")]
    return _lint_index(source, raw, seen, depth)


def _lint_index(source: Source, raw: bytes, seen: set[Digest], depth: int) -> list[Finding]:
    """The index itself, and every manifest in it; their findings are named by their places."""
    try:
        findings = list(check_schema(decode_object(raw, "index"), "oci-index", "index"))
        children = Index.parse(raw).manifests
    except InvalidArtifact as error:
        return [from_error(error, "index", "index")]
    for number, child in enumerate(children):
        inner = _lint_document(source, child, seen, depth + 1)
        findings += (replace(item, document=f"manifests[{number}] {item.document}") for item in inner)
    return findings
