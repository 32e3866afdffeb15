"""Which files of a repository make up the model that is wanted; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mrpack.errors import NotFound, Unsupported, UsageError
from mrpack.hub import dduf, folders, gguf
from mrpack.hub.listing import HubFile, HubListing, Selection
from mrpack.model.filepath import check_tree

_FILES_SHOWN: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A kind of model. `choose` gets the wish, if any, and whether a projector is wanted.

    `named`: a repository may hold several, told apart by a wish.
    """

    name: str
    is_in: Callable[[Sequence[HubFile]], bool]
    choose: Callable[[HubListing, str | None, bool], Selection]
    named: bool = False


_KINDS: Final = (
    _Kind(name=gguf.KIND, is_in=gguf.is_in, choose=gguf.choose, named=True),
    _Kind(name=dduf.KIND, is_in=dduf.is_in, choose=lambda all_, wish, _: dduf.choose(all_, wish), named=True),
    _Kind(
        name=folders.PIPELINE,
        is_in=folders.is_pipeline,
        choose=lambda all_, _wish, _projector: folders.choose_pipeline(all_),
    ),
    _Kind(
        name=folders.MODEL,
        is_in=folders.is_model,
        choose=lambda all_, _wish, _projector: folders.choose_model(all_),
    ),
)


def select(listing: HubListing, wish: str | None, *, projector: bool = True) -> Selection:
    """`wish`: a quantization, the name of a file without suffix, or a kind of model (`safetensors` …).

    Raises:
        NotFound: nothing is what `wish` names.
        UsageError: several models could be meant; the message names them.
        Unsupported: no weights that can be packed.
        InvalidArtifact: a file that would be taken has an unsafe name.
    """
    kind, wish = _kind(listing, wish)
    selection = kind.choose(listing, wish, projector)
    check_tree([file.path for file in selection.files], listing.repository)
    return selection


def _kind(listing: HubListing, wish: str | None) -> tuple[_Kind, str | None]:
    """The kind of model that is meant, and what is left of the wish."""
    present = {kind.name: kind for kind in _KINDS if kind.is_in(listing.files)}
    if not present:
        shown = ", ".join(file.path for file in listing.files[:_FILES_SHOWN]) or "nothing"
        raise Unsupported(
            f"{listing.repository} has no weights in GGUF, Safetensors or DDUF", hint=f"it has {shown}"
        )
    if wish is not None and wish.lower() in present:
        return present[wish.lower()], None
    kinds = [kind for kind in present.values() if wish is None or kind.named]
    held = f"{listing.repository} holds {' and '.join(present)}"
    if not kinds:
        raise NotFound(f"{held}, and nothing called {wish}", hint=f"leave out :{wish}")
    if len(kinds) > 1:
        raise UsageError(held, hint=f"say which, such as hf.co/{listing.repository}:{kinds[-1].name}")
    return kinds[0], wish
