"""Run-time settings that an artifact carries as `mrpack.json`: typed, closed, merged with their origins."""

from mrpack.model.overrides.document import (
    OVERRIDES_LIMIT,
    Overrides,
    check_settings,
    encode_overrides,
    parse_overrides,
    parse_setting,
)
from mrpack.model.overrides.duration import duration_s
from mrpack.model.overrides.importers import (
    Imported,
    from_generation_config,
    from_hf_overrides,
    from_kitops_parameters,
    from_ollama_params,
)
from mrpack.model.overrides.merge import Effective, EngineView, Origin, Sourced, merge
from mrpack.model.overrides.settings import Setting
from mrpack.model.overrides.sources import Carried, SettingsSource, find_settings_source, read_carried
from mrpack.model.overrides.table import BY_KEY, SETTINGS, json_schema, markdown
from mrpack.model.roles import OVERRIDES_PATH

__all__ = [
    "BY_KEY",
    "OVERRIDES_LIMIT",
    "OVERRIDES_PATH",
    "SETTINGS",
    "Carried",
    "Effective",
    "EngineView",
    "Imported",
    "Origin",
    "Overrides",
    "Setting",
    "SettingsSource",
    "Sourced",
    "check_settings",
    "duration_s",
    "encode_overrides",
    "find_settings_source",
    "from_generation_config",
    "from_hf_overrides",
    "from_kitops_parameters",
    "from_ollama_params",
    "json_schema",
    "markdown",
    "merge",
    "parse_overrides",
    "parse_setting",
    "read_carried",
]
