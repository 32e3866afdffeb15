"""All cases. An `h` is something others were found to fall for, an `x` what was thought of besides."""

from __future__ import annotations

from typing import Final

from tests.hostile.access import ACCESS
from tests.hostile.content import CONTENT
from tests.hostile.names import NAMES
from tests.hostile.stage import Case

CASES: Final[dict[str, Case]] = {**CONTENT, **ACCESS, **NAMES}
