"""What every error promises."""

from __future__ import annotations

import pytest

from mrpack.errors import InvalidArtifact, NotFound, TransferError


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\udcffb", "a\u2028b"])
def test_an_error_is_one_line_that_a_terminal_does_not_act_on(text: str) -> None:
    error = InvalidArtifact(text, where=text, hint=text)
    assert str(error).isprintable()
    assert str(TransferError(error, side="source", operation="fetch", name=text)).isprintable()


def test_what_can_be_read_stays_as_it_is() -> None:
    assert str(NotFound("naïve · 模型 «ß» é", hint="…")) == "naïve · 模型 «ß» é (…)"
