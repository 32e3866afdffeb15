"""Settings: what the user's configuration file and environment say, read in one place."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from mrpack.errors import UsageError, from_os_error
from mrpack.model.amounts import parse_size
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.durable import is_foreign

_T = TypeVar("_T")

_DEFAULT_JOBS: Final = 3
JOBS_LIMIT: Final = 64
_TOML_WORDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    dict: "a table",
    int: "a whole number",
    list: "a list",
    str: "a text",
}
SANDBOXES: Final = ("auto", "off", "required")
# Of references: by the key in config.toml, the variable that goes before it.
_DEFAULTS: Final = {
    "registry": "MRPACK_DEFAULT_REGISTRY",
    "namespace": "MRPACK_DEFAULT_NAMESPACE",
    "tag": "MRPACK_DEFAULT_TAG",
}
# By the variable that names another folder (XDG Base Directory Specification 0.8): on Linux, on macOS.
_FOLDERS: Final = {
    "XDG_CACHE_HOME": ("~/.cache", "~/Library/Caches"),
    "XDG_CONFIG_HOME": ("~/.config", "~/Library/Application Support"),
    "XDG_DATA_HOME": ("~/.local/share", "~/Library/Application Support"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """As the environment of every HTTP program gives them; `no_proxy` is a comma list of hosts."""

    http: str = ""
    https: str = ""
    no_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRules:
    """Settings of one registry, table `[registries."HOST[:PORT]"]` of config.toml."""

    plain_http: bool = False
    insecure_skip_verify: bool = False
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    mirrors: tuple[str, ...] = ()
    token_realms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a user may set once; options of a call override it.

    `home`: store, bundles, engines and logs (`MRPACK_HOME`). `config_home`: config.toml and what `configure`
    keeps (`MRPACK_CONFIG_HOME`). `docker_config`: folder of Docker's config.json; `docker_auth`: what
    such a file would hold, of credentials (`DOCKER_AUTH_CONFIG`). `jobs`: blobs at once.
    `limit_rate`: bytes a second to and from registries; None for no limit. `cache`: for what can be made
    again, when `home` cannot be written to.
    `neighbour_folders`: where tools of NEIGHBOURS keep their models, for those whose variable says so.
    `indexes`: package indexes by the names of engines' recipes (docs/engines.md); a URL may hold a password.
    `sandbox`: one of SANDBOXES, how far engines are confined.
    """

    home: Path
    config_home: Path
    docker_config: Path
    docker_auth: str = field(default="", repr=False)
    podman_auth: tuple[Path, ...] = ()
    references: ReferenceDefaults = field(default_factory=ReferenceDefaults)
    registries: Mapping[str, RegistryRules] = field(default_factory=dict)
    proxies: Proxies = field(default_factory=Proxies)
    jobs: int = _DEFAULT_JOBS
    limit_rate: int | None = None
    cache: Path | None = None
    indexes: Mapping[str, str] = field(default_factory=dict, repr=False)
    sandbox: str = SANDBOXES[0]
    neighbour_folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def working_home(self) -> Path:
        """For logs: `home`, or `cache` when that is on a read-only disk or another user's."""
        return self.cache if self.cache is not None and is_foreign(self.home) else self.home


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Environment over config.toml over defaults.

    Raises:
        UsageError: config.toml is not TOML, or has an unknown key; or a value is none of its kind.
    """
    from mrpack.neighbours import NEIGHBOURS  # noqa: PLC0415  # --help takes a few names from here, and no store

    config_home = Path(environ.get("MRPACK_CONFIG_HOME") or user_folder("XDG_CONFIG_HOME", environ))
    table = _read_config(config_home / "config.toml")
    where = str(config_home / "config.toml")
    _only_keys(table, {"home", "jobs", "limit_rate", "defaults", "engines", "indexes", "registries"}, where)
    return Settings(
        home=_home(table, environ, where),
        config_home=config_home,
        docker_config=Path(environ.get("DOCKER_CONFIG") or _expanded("~/.docker", "DOCKER_CONFIG")),
        docker_auth=environ.get("DOCKER_AUTH_CONFIG", ""),
        podman_auth=_podman_auth(environ),
        references=_references(table, environ, where),
        registries={
            _host(host, f"{where}: registries."): _registry_rules(rules, f'{where}: registries."{host}"')
            for host, rules in _sub_table(table, "registries", where).items()
        },
        proxies=Proxies(
            http=_either(environ, "HTTP_PROXY"),
            https=_either(environ, "HTTPS_PROXY") or _either(environ, "ALL_PROXY"),
            no_proxy=_either(environ, "NO_PROXY"),
        ),
        jobs=_jobs(table, where),
        limit_rate=_rate(table, where),
        cache=user_folder("XDG_CACHE_HOME", environ),
        indexes=_indexes(table, environ.get("MRPACK_INDEXES", ""), where),
        sandbox=_sandbox(table, environ.get("MRPACK_SANDBOX", ""), where),
        neighbour_folders={
            prefix: Path(folder)
            for prefix, neighbour in NEIGHBOURS.items()
            if (folder := environ.get(neighbour.variable))
        },
    )


def user_folder(variable: str, environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Ours, where files of a user of that kind belong; a relative path in `variable` does not count."""
    if environ.get(variable, "").startswith("/"):
        return Path(environ[variable], "mrpack")
    linux, macos = _FOLDERS[variable]
    return _expanded(macos if platform == "darwin" else linux, variable) / "mrpack"


def _expanded(text: str, where: str) -> Path:
    """With a home folder for `~` and `~NAME`; users without a name, as in some containers, may have none."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"{where}: no home folder for {text}", hint="write the whole path") from None


def _home(table: dict[str, Any], environ: Mapping[str, str], where: str) -> Path:
    """Absolute, as engines run in folders of their own."""
    variable, written = environ.get("MRPACK_HOME"), _value(table, "home", str, "", where)
    if variable:
        return _expanded(variable, "MRPACK_HOME").absolute()
    if written:
        return _expanded(written, f"{where}: home").absolute()
    return user_folder("XDG_DATA_HOME", environ)


def _references(table: dict[str, Any], environ: Mapping[str, str], where: str) -> ReferenceDefaults:
    written = _sub_table(table, "defaults", where)
    where = f"{where}: defaults"
    found = ReferenceDefaults()
    _only_keys(written, set(_DEFAULTS), where)
    for key, variable in _DEFAULTS.items():
        value = environ.get(variable) or _value(written, key, str, getattr(found, key), where)
        found = replace(found, **{key: value})
        try:
            Reference.parse("model", found)
        except UsageError:
            origin = variable if environ.get(variable) else f"{where}: {key}"
            raise UsageError(f"{origin} is {value!r}", hint="write it as in references") from None
    return found


def _jobs(table: dict[str, Any], where: str) -> int:
    count = _value(table, "jobs", int, _DEFAULT_JOBS, where)
    if not 1 <= count <= JOBS_LIMIT:
        raise UsageError(f"{where}: jobs is {count}", hint=f"1 to {JOBS_LIMIT}")
    return count


def _rate(table: dict[str, Any], where: str) -> int | None:
    text = _value(table, "limit_rate", str, "", where)
    try:
        return parse_size(text) if text else None
    except UsageError as error:
        raise UsageError(f"{where}: limit_rate: {error.message}", hint=error.hint) from None


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name) or ""


def _podman_auth(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where podman looks: until the next boot, and for good (containers-auth.json(5))."""
    if environ.get("REGISTRY_AUTH_FILE"):
        return (Path(environ["REGISTRY_AUTH_FILE"]),)
    runtime = environ.get("XDG_RUNTIME_DIR")
    passing = Path(runtime, "containers") if runtime else Path(f"/run/containers/{os.getuid()}")
    lasting = _expanded(environ.get("XDG_CONFIG_HOME") or "~/.config", "XDG_CONFIG_HOME")
    return (passing / "auth.json", lasting / "containers" / "auth.json")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise from_os_error(error, "read settings") from error
    import tomllib  # noqa: PLC0415  # few have a config.toml

    try:
        return tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def _registry_rules(rules: Any, where: str) -> RegistryRules:
    if not isinstance(rules, dict):
        raise UsageError(f"{where} is not a table")
    _only_keys(rules, set(RegistryRules.__slots__), where)

    def path(key: str) -> Path | None:
        text = _value(rules, key, str, "", where)
        return _expanded(text, f"{where}: {key}") if text else None

    return RegistryRules(
        plain_http=_value(rules, "plain_http", bool, False, where),
        insecure_skip_verify=_value(rules, "insecure_skip_verify", bool, False, where),
        ca_file=path("ca_file"),
        client_cert=path("client_cert"),
        client_key=path("client_key"),
        mirrors=tuple(_host(mirror, f"{where}: mirrors: ") for mirror in _texts(rules, "mirrors", where)),
        token_realms=_texts(rules, "token_realms", where),
    )


def _host(text: str, where: str) -> str:
    """A URL would never fit a reference, and so be passed over in silence."""
    if "/" in text:
        raise UsageError(f'{where}"{text}" is more than HOST[:PORT]', hint="write it as in references")
    return text


def _indexes(table: dict[str, Any], words: str, where: str) -> dict[str, str]:
    """`words`: `NAME=URL …`, which win over the table."""
    indexes = _sub_table(table, "indexes", where)
    found = {name: _value(indexes, name, str, "", f"{where}: indexes") for name in indexes}
    for number, word in enumerate(words.split(), start=1):
        name, separator, url = word.partition("=")
        if not (name and separator and url):
            # Not shown: it may hold a password.
            raise UsageError(f"MRPACK_INDEXES: its word {number} is not NAME=URL")
        found[name] = url
    return found


def _sandbox(table: dict[str, Any], word: str, where: str) -> str:
    engines = _sub_table(table, "engines", where)
    _only_keys(engines, {"sandbox"}, f"{where}: engines")
    found = word or _value(engines, "sandbox", str, SANDBOXES[0], f"{where}: engines")
    if found not in SANDBOXES:
        raise UsageError(
            f"{'MRPACK_SANDBOX' if word else f'{where}: engines: sandbox'} is {found!r}",
            hint=f"one of {', '.join(SANDBOXES)}",
        )
    return found


def _sub_table(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    return _value(table, key, dict, {}, where)


def _texts(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    values = _value(table, key, list, [], where)
    if not all(isinstance(value, str) for value in values):
        raise UsageError(f"{where}: {key} is not a list of texts")
    return tuple(values)


def _value(table: dict[str, Any], key: str, kind: type[_T], default: _T, where: str) -> _T:
    value = table.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where}: {key} is not {_TOML_WORDS[kind]}")
    return value


def _only_keys(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}")
