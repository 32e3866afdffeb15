"""How hard tests look that try random things: as often as the inner loop can bear, or many times that."""

from __future__ import annotations

import os

EFFORT = int(os.environ.get("MRPACK_TEST_EFFORT", "1"))
