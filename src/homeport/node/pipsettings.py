"""The machine's package-index settings: what pip has been told, for uv. Pure but for :func:`read`.

pip reads ``PIP_*`` variables and several ``pip.conf`` files (its documentation's topic "Configuration"); uv reads
neither. Where uv itself has been told (``UV_*`` variables, ``uv.toml``) that stands.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

_KEYS = ("index-url", "extra-index-url", "find-links", "no-index", "cert", "trusted-host", "timeout", "proxy")
_UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")


@dataclass(frozen=True, slots=True)
class PipSettings:
    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    cert: str = ""
    trusted_hosts: tuple[str, ...] = ()
    timeout: int = 0
    """Seconds; 0 for pip's default."""
    proxy: str = ""
    uv_has_index: bool = field(default=False, compare=False)
    """uv has index settings of its own."""

    def uv_arguments(self) -> list[str]:
        """For ``uv pip install``. No URL of an index is among them: command lines are for everybody to see."""
        arguments = ["--no-index"] if self.no_index and not self.uv_has_index else []
        for location in self.find_links:
            arguments += ["--find-links", location]
        for host in self.trusted_hosts:
            arguments += ["--allow-insecure-host", host]
        return arguments

    def uv_environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What to add to uv's environment; variables that are set already stand."""
        wanted: dict[str, str] = {}
        if not self.uv_has_index:
            if self.index_url:
                wanted["UV_DEFAULT_INDEX"] = self.index_url
            if self.extra_index_urls:
                wanted["UV_EXTRA_INDEX_URL"] = " ".join(self.extra_index_urls)
                # pip takes the best version of all indexes; uv by default the first index that has the package.
                wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        if self.cert:
            wanted["SSL_CERT_FILE"] = self.cert
        if self.timeout:
            wanted["UV_HTTP_TIMEOUT"] = str(self.timeout)
        if self.proxy:
            wanted |= {"HTTP_PROXY": self.proxy, "HTTPS_PROXY": self.proxy, "ALL_PROXY": self.proxy}
        return {key: value for key, value in wanted.items() if key not in environ}

    def local_wheels(self) -> Iterable[str]:
        """The file names of the wheels that local find-links directories hold."""
        for location in self.find_links:
            directory = _local(location)
            if directory is not None and directory.is_dir():
                yield from (name for name in sorted(os.listdir(directory)) if name.endswith(".whl"))


def read(environ: Mapping[str, str]) -> PipSettings:
    """The settings that pip would use on this machine, for this user."""
    values: dict[str, str] = {}
    for path in config_files(environ):
        values |= _from_file(path)
    for key in _KEYS:
        if text := environ.get(f"PIP_{key.upper().replace('-', '_')}"):
            values[key] = text
    settings = from_values(values)
    return PipSettings(
        **{name: getattr(settings, name) for name in PipSettings.__slots__ if name != "uv_has_index"},
        uv_has_index=any(environ.get(name) for name in _UV_INDEX) or _uv_toml_has_index(environ),
    )


def stamp(environ: Mapping[str, str]) -> tuple[object, ...]:
    """Changes whenever :func:`read` may give another result for these variables."""
    return tuple(_file_stamp(path) for path in (*config_files(environ), *_uv_files(environ)))


def _file_stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def from_values(values: Mapping[str, str]) -> PipSettings:
    """Settings from pip's texts by key. find-links directories that are not there are left out, as pip does."""
    timeout = values.get("timeout", "")
    return PipSettings(
        index_url=values.get("index-url", "").strip(),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(dict.fromkeys(filter(_exists, values.get("find-links", "").split()))),
        no_index=values.get("no-index", "").strip().lower() in ("1", "true", "yes", "on", "y", "t"),
        cert=values.get("cert", "").strip(),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        timeout=int(float(timeout)) if re.fullmatch(r"\s*\d+(\.\d*)?\s*", timeout) else 0,
        proxy=values.get("proxy", "").strip(),
    )


def _exists(location: str) -> bool:
    path = _local(location)
    return path is None or path.exists()


def _local(location: str) -> Path | None:
    """The path of a local find-links location, None for one on the network."""
    if location.startswith("file:"):
        return Path(unquote(urlsplit(location).path))
    return None if "://" in location else Path(location).expanduser()


def config_files(environ: Mapping[str, str]) -> list[Path]:
    """pip's configuration files, those that count more later."""
    chosen = environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(environ.get("HOME") or Path.home())
    everywhere = [Path(base) / "pip" for base in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if base]
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"
    files = [*(d / "pip.conf" for d in reversed(everywhere)), Path("/etc/pip.conf")]
    files += [home / ".pip" / "pip.conf", user / "pip.conf", Path(sys.prefix) / "pip.conf"]
    return [*files, Path(chosen)] if chosen else files


def _from_file(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    import configparser  # most machines have no such file, or build no image now

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}  # pip itself says so whenever it is used; it must not keep pods from starting
    found: dict[str, str] = {}
    for section in ("global", "download", "install"):
        if parser.has_section(section):
            found |= {key: value for key, value in parser.items(section) if key in _KEYS and value.strip()}
    return found


def _uv_files(environ: Mapping[str, str]) -> list[Path]:
    if chosen := environ.get("UV_CONFIG_FILE"):
        return [Path(chosen)]
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"
    return [user, Path("/etc/xdg/uv/uv.toml"), Path("/etc/uv/uv.toml")]


def _uv_toml_has_index(environ: Mapping[str, str]) -> bool:
    import tomllib

    for path in _uv_files(environ):
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        for_pip = content.get("pip")
        places = [content, for_pip if isinstance(for_pip, dict) else {}]
        if any(key in place for place in places for key in ("index", "index-url", "extra-index-url", "no-index")):
            return True
    return False
