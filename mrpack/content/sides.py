"""Which side of a copy failed, and in what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from mrpack.content.ports import NoPartsError
from mrpack.errors import MrpackError, TransferError


@contextmanager
def failing(side: Literal["source", "destination"], operation: str, name: str) -> Iterator[None]:
    """Errors inside become TransferError, unless they say already whose they are."""
    try:
        yield
    except (TransferError, NoPartsError):
        raise
    except MrpackError as error:
        raise TransferError(error, side=side, operation=operation, name=name) from error
