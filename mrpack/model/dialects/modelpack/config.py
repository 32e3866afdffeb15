"""The config of a ModelPack artifact. Its schema is closed: nothing of ours can be added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack.model.fields import object_at, text_at
from mrpack.model.timestamp import parse_rfc3339
from mrpack.oci.encoding import CONFIG_LIMIT, decode_object, encode

# In the order of the specification's Go types, which is that of the bytes.
_DESCRIPTOR_KEYS: Final = (
    *("createdAt", "authors", "family", "name", "docURL", "sourceURL", "datasetsURL"),
    *("version", "revision", "vendor", "licenses", "title", "description"),
)
_CONFIG_KEYS: Final = ("architecture", "format", "paramSize", "precision", "quantization", "capabilities")
# Where ModelConfig keeps them.
_LABELS: Final[Mapping[str, str]] = {
    "architecture": "architecture",
    "format": "format",
    "paramSize": "parameters",
    "quantization": "quantization",
}
# Of the time before the CNCF.
_SNAKE_CASE: Final[Mapping[str, str]] = {
    "created_at": "createdAt",
    "param_size": "paramSize",
    "input_types": "inputTypes",
    "output_types": "outputTypes",
    "knowledge_cutoff": "knowledgeCutoff",
    "tool_usage": "toolUsage",
}


def read_config(raw: bytes) -> ModelConfig:
    """What has no field in ModelConfig goes to `extra`, where it lay."""
    document = decode_object(raw, "config", limit=CONFIG_LIMIT)
    inner = _modern(document, "config", "config")
    descriptor = _modern(document, "descriptor", "config")
    if "capabilities" in inner:
        inner["capabilities"] = _modern(inner, "capabilities", "config.config")
    labels = {key: text_at(inner, key, "config.config") for key in _LABELS}
    created = text_at(descriptor, "createdAt", "config.descriptor")
    if created:
        parse_rfc3339(created, "config.descriptor.createdAt")
    known = {"createdAt", *(["family"] if descriptor.get("family") == labels["architecture"] else [])}
    extra = {
        "descriptor": {key: value for key, value in descriptor.items() if key not in known},
        "config": {key: value for key, value in inner.items() if key not in _LABELS},
    }
    return ModelConfig(
        format=labels["format"].lower(),
        parameters=labels["paramSize"],
        quantization=labels["quantization"],
        architecture=labels["architecture"],
        created=created,
        extra={key: value for key, value in extra.items() if value},
    )


def write_config(config: ModelConfig, digests: Sequence[Digest]) -> bytes:
    """As the model-spec of CNCF ModelPack has it; keys that we do not know stay where they were."""
    descriptor = {
        "createdAt": config.created,
        "family": config.architecture,
        **object_at(config.extra, "descriptor", "config"),
    }
    inner = {key: getattr(config, field) for key, field in _LABELS.items()}
    inner |= object_at(config.extra, "config", "config")
    if config.created:
        parse_rfc3339(config.created, "created")
    return encode(
        {
            "descriptor": {key: descriptor[key] for key in _DESCRIPTOR_KEYS if descriptor.get(key)},
            "modelfs": {"type": "layers", "diffIds": [str(digest) for digest in digests]},
            "config": {key: inner[key] for key in _CONFIG_KEYS if inner.get(key)},
        }
    )


def _modern(obj: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """The object under `key`, its keys as they are called today."""
    return {_SNAKE_CASE.get(name, name): item for name, item in object_at(obj, key, where).items()}
