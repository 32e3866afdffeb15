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
_ID = re.compile(r"(?:sha256:)?([a-f0-9]{4,64})")


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
    if by_id and len(by_id[1]) >= _ID_LENGTH:
        found = [model for model in models if model.manifest.digest.hex.startswith(by_id[1])]
        if found:
            return _same(found, name)
        if name.startswith("sha256:"):
            raise NotFound(f"no model {name} in the local store", hint="`mrpack list` shows what is there")
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
    if by_id:
        meant = sorted({model.manifest.digest.hex for model in models})
        meant = [digits[:_ID_LENGTH] for digits in meant if digits.startswith(by_id[1])]
        if meant:
            raise NotFound(
                f"no model {name!r} in the local store",
                hint=f"an id has {_ID_LENGTH} digits at least, as {meant[0]} has",
            )
    raise NotFound(f"no model {name!r} in the local store", hint=f"`mrpack pull {name}` fetches it")


def _same(found: Sequence[StoredModel], name: str) -> Sequence[StoredModel]:
    if len({model.manifest.digest for model in found}) > 1:
        names = ", ".join(sorted(str(model.reference) for model in found))
        raise UsageError(f"{name!r} could be any of {names}", hint="give the full name")
    return found
