"""The config of the Docker family: one JSON document, for weight files and for folders alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.config import CONTEXT_SIZE_LIMIT, ModelConfig
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.timestamp import parse_rfc3339
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object, encode, string_map

# Under which key the header values of a format are.
_METADATA_KEYS: Final = {
    "gguf": "gguf",
    "safetensors": "safetensors",
    "dduf": "diffusers",
    "diffusers": "diffusers",
}
_LABELS: Final = ("format", "quantization", "parameters", "architecture", "size")
# Keys with a place of their own in ModelConfig, or computed from the layers. `files` is from the published
# specification; `modelfs`, `paramSize` and `createdAt` from CNCF configs that were relabelled.
_KNOWN_TOP: Final = frozenset({"config", "descriptor", "rootfs", "files", "modelfs"})
_KNOWN_CONFIG: Final = frozenset({*_LABELS, "paramSize", "context_size"})
_KNOWN_DESCRIPTOR: Final = frozenset({"created", "createdAt"})


def read_config(raw: bytes, files: Sequence[ArtifactFile], layers: Sequence[Digest]) -> ModelConfig:
    """Old texts ("361.82 M", "IQ2_XXS/Q4_K_M") stay as they are; unknown keys go to `extra` as they lay.

    Raises:
        InvalidArtifact: malformed, or it is about other layers than these: Docker Model Runner goes by the
            digests here, and would open other files than we do.
    """
    document = decode_object(raw, "config", limit=CONFIG_LIMIT)
    _check_layers(document, layers)
    inner = _object(document, "config")
    descriptor = _object(document, "descriptor")
    labels = {key: _text(inner, key, "config.config") for key in _LABELS}
    labels["parameters"] = labels["parameters"] or _text(inner, "paramSize", "config.config")
    labels["format"] = _format(labels["format"], files)
    metadata_key = _METADATA_KEYS.get(labels["format"])
    created = _text(descriptor, "created", "config.descriptor") or _text(
        descriptor, "createdAt", "config.descriptor"
    )
    if created:
        parse_rfc3339(created, "config.descriptor.created")
    extra = _without(document, _KNOWN_TOP)
    extra["config"] = _without(inner, _KNOWN_CONFIG | ({metadata_key} if metadata_key else frozenset()))
    extra["descriptor"] = _without(descriptor, _KNOWN_DESCRIPTOR)
    return ModelConfig(
        **labels,
        metadata=string_map(
            inner.get(metadata_key) if metadata_key else None, f"config.config.{metadata_key}"
        ),
        context_size=_context_size(inner),
        created=created,
        extra={key: value for key, value in extra.items() if value or key not in {"config", "descriptor"}},
    )


def _check_layers(document: Mapping[str, Any], layers: Sequence[Digest]) -> None:
    listed = _object(document, "rootfs").get("diff_ids")
    if listed and listed != [str(digest) for digest in layers]:
        raise InvalidArtifact("not the digests of the manifest's layers", where="config.rootfs.diff_ids")


def _format(written: str, files: Sequence[ArtifactFile]) -> str:
    """As the config says; the weights decide when it does not, or uses the old name of DDUF."""
    weights = next((file.format for file in files if file.role is LayerRole.WEIGHTS), "")
    if not written or (written == "diffusers" and weights == "dduf"):
        return weights
    return written


def _context_size(inner: Mapping[str, Any]) -> int | None:
    tokens = inner.get("context_size")
    if tokens is None:
        return None
    if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens <= CONTEXT_SIZE_LIMIT:
        raise InvalidArtifact(
            f"not a number of tokens: {str(tokens)[:40]}", where="config.config.context_size"
        )
    return tokens


def write_config(config: ModelConfig, digests: Sequence[Digest]) -> bytes:
    """The keys in the order of Docker Model Runner, empty ones left out; then those we do not know.

    Raises:
        Unsupported: metadata of a format for which its config has no key.
        InvalidArtifact: `created` is no RFC 3339 time.
    """
    inner: dict[str, Any] = {key: getattr(config, key) for key in _LABELS if getattr(config, key)}
    if config.metadata:
        key = _METADATA_KEYS.get(config.format)
        if key is None:
            raise Unsupported(
                f"Docker model configs have no place for the metadata of format {config.format!r}"
            )
        inner[key] = dict(sorted(config.metadata.items()))
    if config.context_size is not None:
        inner["context_size"] = config.context_size
    descriptor: dict[str, Any] = {}
    if config.created:
        parse_rfc3339(config.created, "created")
        descriptor["created"] = config.created
    extra = config.extra
    document = {
        "config": inner | _without(_object(extra, "config"), frozenset(inner)),
        "descriptor": descriptor | _without(_object(extra, "descriptor"), frozenset(descriptor)),
        "rootfs": {"type": "rootfs", "diff_ids": [str(digest) for digest in digests]},
    }
    raw = encode(document | _without(extra, frozenset(document)))
    if len(raw) > CONFIG_LIMIT:
        raise InvalidArtifact(
            f"{len(raw)} bytes, more than the limit of {CONFIG_LIMIT}: the model's metadata is too long",
            where="config",
        )
    return raw


def _object(obj: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An object; missing or null counts as empty, as in Go."""
    value = obj.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidArtifact("not an object", where=f"config.{key}")
    return value


def _text(obj: Mapping[str, Any], key: str, where: str) -> str:
    value = obj.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidArtifact("not a string", where=f"{where}.{key}")
    return value or ""


def _without(obj: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in known}
