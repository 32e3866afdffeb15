"""Settings: what the user's configuration file and environment say, read in one place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from platformdirs import PlatformDirs

from mrpack.errors import UsageError, from_os_error
from mrpack.oci.reference import ReferenceDefaults

_T = TypeVar("_T")

_DEFAULT_JOBS: Final = 3


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
    keeps (`MRPACK_CONFIG_HOME`). `docker_config`: folder of Docker's config.json. `jobs`: blobs at once.
    """

    home: Path
    config_home: Path
    docker_config: Path
    podman_auth: Path | None = None
    references: ReferenceDefaults = field(default_factory=ReferenceDefaults)
    registries: Mapping[str, RegistryRules] = field(default_factory=dict)
    proxies: Proxies = field(default_factory=Proxies)
    jobs: int = _DEFAULT_JOBS


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Environment over config.toml over defaults.

    Raises:
        UsageError: config.toml is not TOML, or has an unknown key or a value of the wrong type.
    """
    folders = PlatformDirs("mrpack", appauthor=False)
    config_home = Path(environ.get("MRPACK_CONFIG_HOME") or folders.user_config_path)
    table = _read_config(config_home / "config.toml")
    where = str(config_home / "config.toml")
    _only_keys(table, {"home", "jobs", "defaults", "registries"}, where)
    defaults = _sub_table(table, "defaults", where)
    _only_keys(defaults, {"registry", "namespace", "tag"}, f"{where}: defaults")
    home = environ.get("MRPACK_HOME") or _value(table, "home", str, "", where) or folders.user_data_path
    runtime_folder = environ.get("XDG_RUNTIME_DIR")
    return Settings(
        home=Path(home).expanduser(),
        config_home=config_home,
        docker_config=Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker"),
        podman_auth=_podman_auth(environ, runtime_folder),
        references=ReferenceDefaults(
            registry=environ.get("MRPACK_DEFAULT_REGISTRY")
            or _value(defaults, "registry", str, "docker.io", where),
            namespace=environ.get("MRPACK_DEFAULT_NAMESPACE")
            or _value(defaults, "namespace", str, "ai", where),
            tag=environ.get("MRPACK_DEFAULT_TAG") or _value(defaults, "tag", str, "latest", where),
        ),
        registries={
            host: _registry_rules(rules, f'{where}: registries."{host}"')
            for host, rules in _sub_table(table, "registries", where).items()
        },
        proxies=Proxies(
            http=_either(environ, "HTTP_PROXY"),
            https=_either(environ, "HTTPS_PROXY") or _either(environ, "ALL_PROXY"),
            no_proxy=_either(environ, "NO_PROXY"),
        ),
        jobs=_value(table, "jobs", int, _DEFAULT_JOBS, where),
    )


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name) or ""


def _podman_auth(environ: Mapping[str, str], runtime_folder: str | None) -> Path | None:
    if environ.get("REGISTRY_AUTH_FILE"):
        return Path(environ["REGISTRY_AUTH_FILE"])
    return Path(runtime_folder) / "containers" / "auth.json" if runtime_folder else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None
    except OSError as error:
        raise from_os_error(error, "read settings") from error


def _registry_rules(rules: Any, where: str) -> RegistryRules:
    if not isinstance(rules, dict):
        raise UsageError(f"{where} is not a table")
    _only_keys(rules, set(RegistryRules.__slots__), where)

    def path(key: str) -> Path | None:
        text = _value(rules, key, str, "", where)
        return Path(text).expanduser() if text else None

    return RegistryRules(
        plain_http=_value(rules, "plain_http", bool, False, where),
        insecure_skip_verify=_value(rules, "insecure_skip_verify", bool, False, where),
        ca_file=path("ca_file"),
        client_cert=path("client_cert"),
        client_key=path("client_key"),
        mirrors=tuple(_value(rules, "mirrors", list, [], where)),
        token_realms=tuple(_value(rules, "token_realms", list, [], where)),
    )


def _sub_table(table: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    return _value(table, key, dict, {}, where)


def _value(table: dict[str, Any], key: str, kind: type[_T], default: _T, where: str) -> _T:
    value = table.get(key, default)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where}: {key} is not a {kind.__name__}")
    return value


def _only_keys(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}")
