"""An artifact against the schemas and the writer's rules: manifest, config, annotations, overrides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import InvalidArtifact, MrpackError
from mrpack.lint.findings import Finding, found, from_error
from mrpack.lint.layers import check_layers
from mrpack.lint.rules import RULES, Subject
from mrpack.lint.schemas import check_schema
from mrpack.model.artifact import ModelArtifact
from mrpack.model.dialects import WRITERS
from mrpack.model.dialects.docker import CONFIG_FILES, CONFIG_FOLDER
from mrpack.model.dialects.modelpack import CONFIG as CONFIG_MODELPACK
from mrpack.model.layer import LayerRole
from mrpack.model.overrides import OVERRIDES_LIMIT, OVERRIDES_PATH, Overrides, parse_overrides
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object
from mrpack.oci.manifest import Manifest

Read = Callable[[Descriptor, int], bytes]
"""The verified bytes of a blob, which is no longer than the limit. Raises as the source does."""


@dataclass(frozen=True, slots=True)
class _ConfigType:
    """`digests`: the two keys under which the config lists the layers."""

    schema: str
    digests: tuple[str, str]


_CONFIG_TYPES: Final[Mapping[str, _ConfigType]] = {
    CONFIG_FILES: _ConfigType("docker-config", ("rootfs", "diff_ids")),
    CONFIG_FOLDER: _ConfigType("docker-config", ("rootfs", "diff_ids")),
    CONFIG_MODELPACK: _ConfigType("modelpack-config", ("modelfs", "diffIds")),
}


def lint_artifact(raw: bytes, read: Read) -> list[Finding]:
    """All findings in the artifact whose manifest is `raw`; small documents are read, weights are not."""
    manifest, findings = _lint_manifest(raw)
    if manifest is None:
        return findings
    kind = _CONFIG_TYPES.get(manifest.config.media_type)
    if kind is None:
        other = (
            f"{manifest.config.media_type!r} is no config that mrpack writes; only the manifest was checked"
        )
        return [*findings, found("manifest", "config.mediaType", "dialect", other)]
    if manifest.config.size > CONFIG_LIMIT:
        long = f"{manifest.config.size} bytes, more than the limit of {CONFIG_LIMIT}"
        return [*findings, found("manifest", "config.size", "config-size", long)]
    config_bytes = read(manifest.config, CONFIG_LIMIT)
    try:
        config = decode_object(config_bytes, "config", limit=CONFIG_LIMIT)
    except InvalidArtifact as error:
        return [*findings, from_error(error, "config", "json")]
    findings += check_schema(config, kind.schema, "config")
    artifact = _read_artifact(manifest, config_bytes, findings)
    if artifact is None:
        return findings
    overrides = _lint_overrides(artifact, read, findings)
    subject = Subject(artifact=artifact, digests=_digests(config, kind), overrides=overrides)
    for rule in RULES:
        findings += (found(rule.document, where, rule.name, text) for where, text in rule.check(subject))
    return findings


def _lint_manifest(raw: bytes) -> tuple[Manifest | None, list[Finding]]:
    try:
        document = decode_object(raw, "manifest")
    except InvalidArtifact as error:
        return None, [from_error(error, "manifest", "json")]
    findings = list(check_schema(document, "oci-manifest", "manifest"))
    try:
        manifest = Manifest.parse(raw)
    except InvalidArtifact as error:
        return None, findings or [from_error(error, "manifest", "manifest")]
    return manifest, [*findings, *check_layers(manifest.layers)]


def _read_artifact(manifest: Manifest, config: bytes, findings: list[Finding]) -> ModelArtifact | None:
    """As our own reader sees it; what it refuses is a finding, unless one says it already."""
    dialect = next(row for row in WRITERS.values() if row.recognises(manifest))
    try:
        return dialect.read(manifest, config)
    except MrpackError as error:
        if not findings:
            document = "config" if getattr(error, "where", "").startswith("config") else "manifest"
            findings.append(from_error(error, document, "readable"))
        return None


def _lint_overrides(artifact: ModelArtifact, read: Read, findings: list[Finding]) -> Overrides:
    documents = artifact.with_role(LayerRole.OVERRIDES)
    if not documents:
        return Overrides()
    blob = documents[0].descriptor
    if blob.size > OVERRIDES_LIMIT:
        long = f"{blob.size} bytes, more than the limit of {OVERRIDES_LIMIT}"
        findings.append(found(OVERRIDES_PATH, "", "overrides", long))
        return Overrides()
    try:
        document = decode_object(read(blob, OVERRIDES_LIMIT), OVERRIDES_PATH)
        broken = list(check_schema(document, "overrides", OVERRIDES_PATH))
        findings += broken
        return Overrides() if broken else parse_overrides(document)
    except InvalidArtifact as error:
        findings.append(from_error(error, OVERRIDES_PATH, "overrides"))
        return Overrides()


def _digests(config: Mapping[str, Any], kind: _ConfigType) -> tuple[str, list[Any]]:
    outer, inner = kind.digests
    holder = config.get(outer)
    listed = holder.get(inner) if isinstance(holder, dict) else None
    return f"{outer}.{inner}", listed if isinstance(listed, list) else []
