"""What a test needs from its machine: absent means a loud skip, and a failure in CI."""

from __future__ import annotations

import os

import pytest


def demand(reason: str) -> None:
    """`reason` says what is absent; empty when all is there."""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(f"{reason}: this was NOT tested")
