"""What holds for pods where namespaces say nothing, and for whom nothing holds: the configuration of the plug-in
PodSecurity, as kube-apiserver reads it (``--admission-control-config-file``).

Upstream: ``pod-security-admission/admission/api``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from homeport.apiserver import config_file
from homeport.apiserver.admission.pod_security.standards import LEVELS, Policy, parse_level, parse_version
from homeport.kube import field, names
from homeport.kube.errors import FieldError, Permanent

MODES: Final = ("enforce", "audit", "warn")
_FLAG = "--admission-control-config-file"
_ADMISSION = ("apiserver.config.k8s.io/v1", "AdmissionConfiguration")
_KIND = "PodSecurityConfiguration"
_VERSIONS = tuple(f"pod-security.admission.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_PLUGIN = "PodSecurity"
WRONG_LEVEL = f"must be one of {', '.join(LEVELS)}"
WRONG_VERSION = 'must be "latest" or "v1.x"'


class Policies(NamedTuple):
    """One policy for each mode."""

    enforce: Policy = Policy()
    audit: Policy = Policy()
    warn: Policy = Policy()


PRIVILEGED: Final = Policies()
"""Everything is allowed, and nothing warned about."""


class PodSecurityConfiguration(msgspec.Struct, frozen=True):
    """Without one, namespaces without labels allow everything, and nobody is exempt."""

    defaults: Policies = PRIVILEGED
    usernames: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()


def load(path: Path) -> PodSecurityConfiguration:
    """What an AdmissionConfiguration says. Raises Permanent for a file that can't be read or says something else."""
    document = config_file.load(_FLAG, path)
    if (document.get("apiVersion"), document.get("kind")) != _ADMISSION:
        raise Permanent(f"{_FLAG}: {path} has to be an {_ADMISSION[1]} of {_ADMISSION[0]}")
    found = PodSecurityConfiguration()
    for plugin in document.get("plugins") or ():
        name = plugin.get("name") if isinstance(plugin, dict) else None
        if name != _PLUGIN:
            raise Permanent(f'{_FLAG}: {path}: of all plug-ins {_PLUGIN} can be configured, not "{name}"')
        configuration = plugin.get("configuration")
        if configuration is None and plugin.get("path"):
            configuration = config_file.load(_FLAG, path.parent / str(plugin["path"]))
        errors: list[FieldError] = []
        if isinstance(configuration, dict):
            found = read(configuration, errors)
        elif configuration is not None:
            errors.append(field.invalid("", configuration, f"has to be a {_KIND}"))
        if errors:
            raise Permanent(f"{_FLAG}: {path}: {'; '.join(map(str, errors))}")
    return found


def read(document: dict[str, Any], errors: list[FieldError]) -> PodSecurityConfiguration:
    """What a PodSecurityConfiguration says. What is wrong with it is appended to `errors`."""
    if document.get("apiVersion") not in _VERSIONS:
        errors.append(field.not_supported("apiVersion", document.get("apiVersion"), _VERSIONS))
    if document.get("kind") != _KIND:
        errors.append(field.not_supported("kind", document.get("kind"), (_KIND,)))
    errors += _unknown(document, "", ("apiVersion", "kind", "defaults", "exemptions"))
    given = _part(document, "defaults", errors)
    errors += _unknown(given, "defaults", [key for mode in MODES for key in (mode, f"{mode}-version")])
    exempt = _part(document, "exemptions", errors)
    errors += _unknown(exempt, "exemptions", ("usernames", "namespaces", "runtimeClasses"))
    return PodSecurityConfiguration(
        Policies(*(_policy(given, mode, errors) for mode in MODES)),
        _listed(exempt, "usernames", lambda _: [], errors),
        _listed(exempt, "namespaces", names.dns1123_label, errors),
        _listed(exempt, "runtimeClasses", names.dns1123_subdomain, errors),
    )


def _part(document: dict[str, Any], key: str, errors: list[FieldError]) -> dict[str, Any]:
    part = document.get(key)
    if part is None or isinstance(part, dict):
        return part or {}
    errors.append(field.invalid(key, part, "must be an object"))
    return {}


def _unknown(given: dict[str, Any], path: str, known: Any) -> Iterator[FieldError]:
    for key in given:
        if key not in known:
            yield field.invalid(field.child(path, str(key)), field.OMITTED, "unknown field")


def _policy(given: dict[str, Any], mode: str, errors: list[FieldError]) -> Policy:
    level, version = given.get(mode) or "privileged", given.get(f"{mode}-version") or "latest"
    parsed_level, parsed_version = parse_level(str(level)), parse_version(str(version))
    if parsed_level is None:
        errors.append(field.invalid(f"defaults.{mode}", level, WRONG_LEVEL))
    if parsed_version is None:
        errors.append(field.invalid(f"defaults.{mode}-version", version, WRONG_VERSION))
    if parsed_level is None or parsed_version is None:
        return Policy()
    return Policy(parsed_level, parsed_version)


def _listed(
    given: dict[str, Any], key: str, rule: Callable[[str], list[str]], errors: list[FieldError]
) -> frozenset[str]:
    values = given.get(key) or []
    if not isinstance(values, list):
        errors.append(field.invalid(f"exemptions.{key}", values, "must be a list"))
        return frozenset()
    found: set[str] = set()
    for index, value in enumerate(values):
        path = f"exemptions.{key}[{index}]"
        if not isinstance(value, str):
            errors.append(field.invalid(path, value, "must be a string"))
        elif not value:
            errors.append(field.required(path))
        elif wrong := rule(value):
            errors.append(field.invalid(path, value, ", ".join(wrong)))
        elif value in found:
            errors.append(field.duplicate(path, value))
        else:
            found.add(value)
    return frozenset(found)
