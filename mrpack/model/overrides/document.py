"""The document itself: from bytes, objects and command lines to checked settings, and back to bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.overrides.table import BY_KEY, GROUPS, nearest_key
from mrpack.model.overrides.vllm import spread_hf_overrides
from mrpack.model.roles import OVERRIDES_PATH
from mrpack.oci.encoding import decode_object, encode

# A document with every key, and some texts for the model, has a few KiB.
OVERRIDES_LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Overrides:
    """Checked settings by key, such as `sampling.temperature`; None: as if nobody had set it."""

    values: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.values)

    def to_json(self) -> dict[str, Any]:
        """The document: groups are objects, all keys sorted."""
        result: dict[str, Any] = {}
        for key in sorted(self.values):
            group, _, name = key.rpartition(".")
            place = result.setdefault(group, {}) if group else result
            place[name] = self.values[key]
        return dict(sorted(result.items()))

    def with_settings(self, changes: Overrides) -> Self:
        """These settings with `changes` on top; one that is changed to None is gone."""
        merged = {**self.values, **changes.values}
        return type(self)({key: value for key, value in merged.items() if value is not None})


def encode_overrides(overrides: Overrides) -> bytes:
    """Compact JSON with sorted keys: the same settings are the same bytes, and so the same digest."""
    return encode(overrides.to_json())


def parse_overrides(source: bytes | Mapping[str, Any], where: str = OVERRIDES_PATH) -> Overrides:
    """The settings of a document; `where` names it in errors.

    Raises:
        InvalidArtifact: not such a document; names the key and what is wrong with it.
    """
    document = decode_object(source, where, limit=OVERRIDES_LIMIT) if isinstance(source, bytes) else source
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if name in GROUPS:
            if not isinstance(value, Mapping):
                raise InvalidArtifact("not an object", where=f"{where}.{name}")
            flat.update((f"{name}.{inner}", item) for inner, item in value.items())
        elif "." in str(name):
            raise InvalidArtifact(
                f"{str(name)[:80]!r}: groups are objects here", where=where, hint=_as_object(str(name))
            )
        else:
            flat[name] = value
    return check_settings(flat, where)


def check_settings(values: Mapping[str, Any], where: str) -> Overrides:
    """Settings by key, each checked against the table. Raises InvalidArtifact."""
    checked: dict[str, Any] = {}
    for key, value in spread_hf_overrides(values).items():
        setting = BY_KEY.get(key)
        if setting is None:
            raise InvalidArtifact(
                "no such setting", where=f"{where}.{str(key)[:80]}", hint=_did_you_mean(key)
            )
        if value is None:
            checked[key] = None
        elif wanted := setting.kind.refusal(value):
            raise InvalidArtifact(f"{str(value)[:60]!r} is not {wanted}", where=f"{where}.{key}")
        else:
            checked[key] = setting.kind.canonical(value)
    return Overrides(checked)


def parse_setting(text: str) -> Overrides:
    """One setting as `--set KEY=VALUE` has it; the value `null` takes it away.

    Raises:
        UsageError: no such key, or a value that it does not take.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text[:80]!r} is not KEY=VALUE")
    setting = BY_KEY.get(key)
    if setting is None:
        raise UsageError(f"no such setting: {key[:80]!r}", hint=_did_you_mean(key))
    try:
        meant = None if value == "null" else setting.kind.read(value)
    except (ValueError, RecursionError):
        meant = value
    if meant is not None and (wanted := setting.kind.refusal(meant)):
        raise UsageError(f"{key}: {value[:60]!r} is not {wanted}")
    try:
        return check_settings({key: meant}, "--set")
    except InvalidArtifact as error:  # a setting within the value
        raise UsageError(error.message, hint=error.hint) from error


def _did_you_mean(key: object) -> str:
    nearest = nearest_key(str(key)[:80])
    return f"did you mean {nearest}?" if nearest else "`mrpack configure keys` lists them"


def _as_object(key: str) -> str | None:
    nearest = nearest_key(key[:80])
    if nearest is None or "." not in nearest:
        return None
    group, _, name = nearest.rpartition(".")
    return f'write {{"{group}": {{"{name}": …}}}}'
