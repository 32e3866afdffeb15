"""How people name local models: full and short references, digests, short ids, last name parts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.errors import NotFound, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference, ReferenceDefaults

_ID_LENGTH: Final = 12
_ID = re.compile(r"(?:sha256:)?([a-f0-9]{12,64})")
_LIKE_AN_ID = re.compile(r"(?:sha256:[a-f0-9]*|[a-f0-9]{4,64})")
# Models that a mistyped name may have meant: a gateway pays for this with each refusal, some milliseconds.
_GUESSED_AMONG: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """One reference of the local store and the manifest it points to."""

    reference: Reference
    manifest: Descriptor


def find_names(
    models: Sequence[StoredModel], name: str, defaults: ReferenceDefaults
) -> Sequence[StoredModel]:
    """The model that `name` means: a digest or id, then the full reference, then a unique last name part.

    With all names that it means, of one manifest; one where `name` is a full reference.

    Raises:
        NotFound: no model fits.
        UsageError: several do; the message names them.
    """
    by_id = _ID.fullmatch(name)
    if by_id:
        found = [model for model in models if model.manifest.digest.hex.startswith(by_id[1])]
        if found:
            return _same(found, name)
        if name.startswith("sha256:"):
            raise _not_found(models, name, defaults)
    wanted = Reference.parse(name, defaults)
    for model in models:
        if wanted.digest is not None:
            if model.manifest.digest == wanted.digest and model.reference.name == wanted.name:
                return [model]
        elif model.reference.tag == wanted.tag and model.reference.name == wanted.name:
            return [model]
    if wanted.digest is None and "/" not in name:
        last = wanted.repository.rpartition("/")[2]
        same = [model for model in models if model.reference.repository.rpartition("/")[2] == last]
        tagged = [model for model in same if model.reference.tag == wanted.tag]
        candidates = tagged or ([] if ":" in name else same)
        if candidates:
            return _same(candidates, name)
    raise _not_found(models, name, defaults)


def _not_found(models: Sequence[StoredModel], name: str, defaults: ReferenceDefaults) -> NotFound:
    hint = _hint_of_id(models, name) if _LIKE_AN_ID.fullmatch(name) else ""
    if not hint:
        near = _near(models, name, defaults)
        hint = (f"did you mean {near}? If not, " if near else "") + f"`mrpack pull {name}` fetches it"
    return NotFound(f"no model {name!r} in the local store", hint=hint)


def _hint_of_id(models: Sequence[StoredModel], name: str) -> str:
    """Empty for what may be a name all the same."""
    digits = name.removeprefix("sha256:")
    begun = [model.manifest.digest.hex for model in models if model.manifest.digest.hex.startswith(digits)]
    if begun and len(digits) < _ID_LENGTH:
        return f"an id has {_ID_LENGTH} digits at least, as {min(begun)[:_ID_LENGTH]} has"
    may_be_name = digits == name and len(digits) < _ID_LENGTH
    return "" if may_be_name else "`mrpack list` shows what is there"


def _near(models: Sequence[StoredModel], name: str, defaults: ReferenceDefaults) -> str:
    """What looks most like `name`, as a whole, without its tag or by its last part; else empty."""
    from difflib import get_close_matches  # noqa: PLC0415  # for people who mistype

    looks: dict[str, str] = {}
    for model in models[:_GUESSED_AMONG]:
        full = model.reference.familiar(defaults)
        for look in (full, full.removesuffix(f":{model.reference.tag}")):
            looks |= {look: full, look.rpartition("/")[2]: full}
    return next((looks[near] for near in get_close_matches(name, looks, n=1, cutoff=0.75)), "")


def _same(found: Sequence[StoredModel], name: str) -> Sequence[StoredModel]:
    if len({model.manifest.digest for model in found}) > 1:
        names = ", ".join(sorted(str(model.reference) for model in found))
        raise UsageError(f"{name!r} could be any of {names}", hint="give the full name")
    return found
